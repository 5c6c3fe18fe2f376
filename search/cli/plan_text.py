"""A plan in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from mixers.scan import OWN_DISTRIBUTION
from search.cli.status import in_time
from search.formatting import budget_words

_SHOWN = 12  # values that never meet the budget


def lines_of(plan: dict[str, Any]) -> Iterator[str]:
    """Lines that `search plan` prints."""
    yield f"{plan['name']}: budget {budget_words(plan['budget'])}, seed {plan['seed']}"
    yield from _space(plan)
    yield from _candidates(plan["candidates"])
    yield from _never(plan["never"])
    if plan["nearest_miss"] is not None:
        yield f"nearest miss: {_miss(plan['nearest_miss'])}"
    yield from _cost(plan)
    yield from _writes(plan["writes"])


def _space(plan: dict[str, Any]) -> Iterator[str]:
    size, mixers = plan["space"], plan["mixers"]
    continuous = f", and continuous {', '.join(size['continuous'])}" if size["continuous"] else ""
    yield f"space: {_large(size['combinations'])} combinations of choices{continuous}"
    by_origin = Counter((m["distribution"], m["version"], m["origin"]) for m in mixers["searched"])
    for (distribution, version, origin), count in sorted(by_origin.items()):
        names = [m["name"] for m in mixers["searched"] if m["distribution"] == distribution]
        where = "" if distribution == OWN_DISTRIBUTION else f", {origin}"
        yield f"  {count} mixers of {distribution} {version}{where}: {', '.join(names)}"
    for reason in mixers["left_out"].values():
        yield f"  left out of any: {reason}"


def _candidates(found: dict[str, Any]) -> Iterator[str]:
    yield (
        f"of {found['drawn']} candidates drawn, {found['unbuildable']} cannot be built; "
        f"{found['missed']} miss by counts and floors; {found['possible']} may meet the budget"
    )
    if found["measured"]:
        passed = f"{found['passed']} of {found['measured']} measured meet it"
        yield f"  {passed}: {_share(found['passed_share'])}"
        share = found["predicted_share"] or found["feasible_share"]
        errors = [f"{mode} {error:.0%}" for mode, error in found["prediction_errors"].items()]
        how = f", speeds predicted within {', '.join(errors)}" if found["predicted_share"] else ""
        yield f"share of what can be built that meets the budget: {_share(share)}{how}"
    elif found["feasible_share"]:
        share = _share(found["feasible_share"])
        yield f"share of what can be built that meets the budget, by counts: {share}"
    else:
        yield "  none was measured, so what meets the budget is not known"
    for reason, count in found["failures"].items():
        yield f"  {count} × {reason}"


def _never(dead: list[dict[str, Any]]) -> Iterator[str]:
    if dead:
        yield "never meets the budget, of those drawn:"
    for one in dead[:_SHOWN]:
        yield f"  {one['parameter']}: {one['value']}: 0 of {one['judged']}"
    if len(dead) > _SHOWN:
        yield f"  and {len(dead) - _SHOWN} other values"


def _miss(trial: dict[str, Any]) -> str:
    return f"{'; '.join(trial['stages'])}: {trial['reason']}"


def _cost(plan: dict[str, Any]) -> Iterator[str]:
    cost = plan["cost"]
    seen = []
    if cost["seconds_per_measurement"] is not None:
        seen.append(f"a measurement takes {in_time(cost['seconds_per_measurement'])}")
    if cost["seconds_per_training"] is not None:
        seen.append(
            f"a training of {plan['train']['epochs']} epochs "
            f"{in_time(cost['seconds_per_training'])}, scaled from some steps of "
            f"{cost['trainings_timed']}"
        )
    if seen:
        yield f"cost: {'; '.join(seen)}"
    went = f" ({cost['counted_already']} have been)" if cost["counted_already"] else ""
    if cost["seconds_as_drawn"] is not None:
        yield (
            f"  {cost['trials']} trials{went}: about {in_time(cost['seconds_as_drawn'])} with as "
            f"many rejected as here; {in_time(cost['seconds_at_most'])} where all are trained"
        )
        if cost["trained_share"] < 1:
            yield (
                f"  successive halving trains {cost['trained_share']:.0%} of the epochs on average "
                f"(1 in {plan['halving']} promoted per rung)"
            )
    else:
        yield f"  {cost['trials']} trials{went}: not known, since no training was timed"
    if plan["baselines"]:
        yield f"  and {len(plan['baselines'])} baselines, which were not timed"


def _writes(writes: dict[str, Any]) -> Iterator[str]:
    there = "continues" if writes["is_there"] else "will be made"
    yield f"{writes['folder']} {there}: {', '.join(writes['files'])}"
    parts = [
        f"weights {_bytes(writes['weights_bytes_at_most'])} a file at most, "
        f"{writes['num_weights_at_most']} files at most",
        f"a checkpoint {_bytes(writes['checkpoint_bytes_at_most'])}, "
        f"{writes['num_checkpoints_at_most']} at a time at most",
    ]
    if writes["record_bytes"] is not None:
        parts.append(f"a line of trials.jsonl {_bytes(writes['record_bytes'])}")
    yield f"  {', '.join(parts)}"


def _share(share: dict[str, float]) -> str:
    return f"{share['value']:.0%} [{share['low']:.0%}, {share['high']:.0%}] at 95%"


def _large(count: int) -> str:
    return f"{count:,}" if count < 10**9 else f"{count:.3g}"


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"

"""The end of a study on a terminal: the best and its margin, or the nearest miss and why."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from search.cli.output import cell, echo
from search.cli.status import refuted_text
from search.formatting import budget_words
from search.scheduling.passed_over import PassedOver
from search.scheduling.quarantine import QuarantinedMixer

SHOWN_REASONS = 3
_ENDED = {  # outcomes that the number of trials does not explain
    "time limit": "The time limit ended the search. To resume: {go_on}",
    "space exhausted": "The search ended early: it found no backbone in the space that is new.",
}


def print_result(summary: dict[str, Any], folder: Path, go_on: str) -> None:
    """Prints summary.json's content for people; `go_on` is the command that continues."""
    trials = summary["trials"]
    states = ", ".join(f"{count} {state}" for state, count in sorted(trials["by_state"].items()))
    total = max(trials["total"], trials["counted"])
    echo(f"{summary['name']}: {trials['counted']} of {total} trials ({states or 'none'})")
    if summary["outcome"] in _ENDED:
        echo(_ENDED[summary["outcome"]].format(go_on=go_on))
    for line in _predictions(summary["prediction"]):
        echo(line)
    for mixer in summary["set_aside"]:
        echo(str(QuarantinedMixer.from_data(mixer)))
    for line in passed_over_lines(summary["passed_over"]):
        echo(line)
    _print_found(summary, folder)
    for trial in summary["refuted"]:
        echo(refuted_text(trial))
    if summary["baselines"]:
        _print_baselines(summary)


def passed_over_lines(passed_over: list[dict[str, Any]]) -> list[str]:
    """The mixers and places that ruled candidates out before they became trials, a line each."""
    found = [PassedOver.from_data(one) for one in passed_over]
    lines = [str(one) for one in found if one.is_fault]
    others = [one for one in found if not one.is_fault]
    lines += [str(one) for one in others[:SHOWN_REASONS]]
    if len(others) > SHOWN_REASONS:
        count = sum(one.candidates for one in others[SHOWN_REASONS:])
        lines.append(f"{count} candidates passed over for {len(others) - SHOWN_REASONS} others")
    return lines


def _print_found(summary: dict[str, Any], folder: Path) -> None:
    """The best, else the nearest miss, else why there is neither."""
    best, miss = summary["best"], summary["nearest_miss"]
    if best is not None:
        if summary["front"] is not None:
            Console().print(_front_table(summary["front"]))
        title = "Best within the budget" if summary["budget"] else "Most accurate"
        Console().print(_table(title, best))
        for name in ("best.yaml", "best.safetensors"):
            if (folder / name).exists():
                echo(folder / name)
        return
    budget = budget_words(summary["budget"])
    if miss is not None:
        echo(f"No candidate met the budget ({budget}).")
        Console().print(_table("Nearest miss", miss))
        echo(_within_reach(miss))
    elif summary["reasons"] and not failed(summary):
        echo(f"No candidate came to be judged and trained (budget: {budget}):")
        echo(describe_reasons(summary))
    elif not summary["reasons"]:
        echo(f"No candidate was tried (budget: {budget}).")


def _within_reach(miss: dict[str, Any]) -> str:
    """The speeds of the nearest miss, and the command that says what the space allows."""
    seen = [
        f"{mode} at most {found['at_most']:.3g} images/s"
        if "at_most" in found
        else f"{mode} {found['images_per_second']:.0f} images/s"
        for mode, found in miss["throughput"].items()
    ]
    closest = f"The closest reached {', '.join(seen)}. " if seen else ""
    return f"{closest}`search plan` with the same arguments says which share of the space meets it."


def _print_baselines(summary: dict[str, Any]) -> None:
    """The best next to what it is compared with, a line each; what a baseline could not do."""
    rows = (
        [] if summary["best"] is None else [(f"trial {summary['best']['trial']}", summary["best"])]
    )
    rows += [(Path(one["name"]).name, one) for one in summary["baselines"]]
    columns: dict[str, Callable[[dict[str, Any]], str | None]] = {
        "train images/s": lambda one: _short_speed(one["throughput"].get("train")),
        "infer images/s": lambda one: _short_speed(one["throughput"].get("infer")),
        "latency, ms": lambda one: one["latency"] and f"{one['latency']['milliseconds']:.3g}",
        "memory, GiB": lambda one: one["memory"] and f"{one['memory']:.3f}",
        "validation": lambda one: _accuracy(one["validation_accuracy"]),
        "test": lambda one: _accuracy(one["test_accuracy"]),
        "params": lambda one: _millions(one["params"]),
        "MACs": lambda one: _millions(one["macs"]),
    }
    cells = {heading: [tell(one) for _, one in rows] for heading, tell in columns.items()}
    cells = {heading: told for heading, told in cells.items() if any(told)}
    table = Table(title="Next to the baselines", title_justify="left")
    for heading in ["", *cells]:
        table.add_column(heading, overflow="fold")
    for index, (title, _) in enumerate(rows):
        table.add_row(*map(cell, [title, *(told[index] or "-" for told in cells.values())]))
    Console().print(table)
    for one in summary["baselines"]:
        if one["state"] != "COMPLETE":
            reason = one["reason"].partition("\n")[0]
            echo(f"baseline {Path(one['name']).name}: {one['state']}: {reason}")
        elif not one["within_budget"]:
            echo(f"baseline {Path(one['name']).name} misses the budget: {one['reason']}")


def _short_speed(throughput: dict[str, Any] | None) -> str | None:
    if throughput is None or "images_per_second" not in throughput:
        return None
    return f"{throughput['images_per_second']:.0f} {throughput['verdict'] or ''}".rstrip()


def _accuracy(value: float | None) -> str | None:
    return None if value is None else f"{value:.4f}"


def _millions(count: int | None) -> str | None:
    return None if count is None else f"{count / 1e6:,.2f} M"


def _predictions(prediction: dict[str, Any] | None) -> list[str]:
    """Line about predicted speeds, if any were predicted."""
    if prediction is None or not prediction["ruled_out"]:
        return []
    errors = [
        f"{mode} {error:.1%}"
        for mode, error in prediction["relative_error"].items()
        if error is not None
    ]
    words = f"predicted from the others, speeds were off by {', '.join(errors)}"
    return [f"{prediction['ruled_out']} candidates ruled out without measuring ({words})"]


def failed(summary: dict[str, Any]) -> bool:
    """Return whether the study ended for its failures, or had nothing else."""
    only_failures = set(summary["trials"]["by_state"]) == {"FAILED"}
    return only_failures or summary["outcome"] == "too many failures"


def describe_reasons(summary: dict[str, Any]) -> str:
    """Why candidates ended, the commonest first, a line each."""
    reasons = sorted(summary["reasons"].items(), key=lambda item: -item[1])
    lines = [f"  {count} × {reason.splitlines()[0]}" for reason, count in reasons[:SHOWN_REASONS]]
    if len(reasons) > SHOWN_REASONS:
        lines.append(f"  and {len(reasons) - SHOWN_REASONS} other reasons")
    return "\n".join(lines)


def _front_table(front: list[dict[str, Any]]) -> Table:
    """The trials that no other beats in everything, a line each."""
    table = Table(title="Front: no trial beats these in everything", title_justify="left")
    for name in ("trial", "validation accuracy"):
        table.add_column(name)
    figures = [_figures(trial) for trial in front]
    for name in figures[0]:
        table.add_column(name)
    for trial, row in zip(front, figures, strict=True):
        cells = (str(trial["trial"]), f"{trial['validation_accuracy']:.4f}", *row.values())
        table.add_row(*cells)
    return table


def _figures(trial: dict[str, Any]) -> dict[str, str]:
    """Measured and counted figures of a complete trial, by name."""
    found = {
        f"{mode} images/s": f"{measured['images_per_second']:.0f}"
        for mode, measured in trial["throughput"].items()
    }
    if trial["latency"] is not None:
        found["latency, ms"] = f"{trial['latency']['milliseconds']:.3g}"
    if trial["memory"] is not None:
        found["memory, GiB"] = f"{trial['memory']:.3f}"
    return {**found, "params": f"{trial['params']:,}", "MACs": f"{trial['macs']:,}"}


def _table(title: str, trial: dict[str, Any]) -> Table:
    table = Table(title=title, show_header=False, title_justify="left")
    table.add_column()
    table.add_column(overflow="fold")
    table.add_row("trial", str(trial["trial"]))
    for mode, measured in trial["throughput"].items():
        table.add_row(f"{mode} throughput", cell(_speed(measured)))
        if measured["budget"] is not None:
            table.add_row(
                "budget", f"{measured['budget']:g} images/s, margin {measured['margin']:+.1%}"
            )
    latency = trial["latency"]
    if latency is not None:
        table.add_row("latency", cell(_latency(latency)))
        if latency["budget"] is not None:
            words = f"{latency['budget']:g} ms, margin {latency['margin']:+.1%}"
            table.add_row("budget of latency", words)
    if trial.get("confirmed") is not None:
        words = "within the budget" if trial["confirmed"] else "not done yet"
        table.add_row("measured again", words)
    for split in ("validation", "test"):
        if trial[f"{split}_accuracy"] is not None:
            table.add_row(f"{split} accuracy", f"{trial[f'{split}_accuracy']:.4f}")
    table.add_row("params, MACs", f"{trial['params']:,}, {trial['macs']:,}")
    for name, limit in trial["limits"].items():
        table.add_row(f"budget of {name}", _limit(name, limit, trial[name]))
    for index, stage in enumerate(trial["stages"]):
        table.add_row(f"stage {index}", cell(stage))
    return table


def _speed(throughput: dict[str, Any]) -> str:
    """Measured speed, or its upper bound if that was enough to reject."""
    if "at_most" in throughput:
        return f"at most {throughput['at_most']:.3g} images/s whatever the kernels, not measured"
    return (
        f"{throughput['images_per_second']:.0f} images/s "
        f"[{throughput['low']:.0f}, {throughput['high']:.0f}]{_verdict(throughput)}"
    )


def _latency(latency: dict[str, Any]) -> str:
    ends = f"[{latency['low']:.3g}, {latency['high']:.3g}]"
    return f"{latency['milliseconds']:.3g} ms {ends}{_verdict(latency)}"


def _verdict(measured: dict[str, Any]) -> str:
    return "" if measured["verdict"] is None else f", {measured['verdict']}"


def _limit(name: str, limit: float, value: float | None) -> str:
    unit = " GiB" if name == "memory" else ""
    margin = "not measured" if value is None else f"margin {1 - value / limit:+.1%}"
    return f"{limit:,}{unit}, {margin}"

"""`search status`: how a study stands, also while it runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from search.cli.errors import user_errors
from search.cli.output import echo
from search.formatting import budget_words, interval, speed


@click.command()
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder whose studies are listed if no FOLDER is given.  [default: runs]",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object, or a list without FOLDER.")
def status(folder: Path | None, out: Path | None, as_json: bool) -> None:
    """Show the status of the study in FOLDER: trials, best, last trials, whether it runs.

    Without FOLDER, a line for each study. A running study is not disturbed.
    """
    with user_errors():
        from search.errors import UsageError
        from search.storage.study_folder import require_study_folder, study_folders
        from search.study.status import study_status

        if folder is None:
            place = out or Path("runs")
            found = [_status_or_problem(path) for path in study_folders(place)]
            if not found:
                words = "no study in it; allowed: a folder of run folders, or FOLDER"
                raise UsageError(f"{place}: {words}")
            echo(json.dumps(found, indent=2) if as_json else _list(found))
            return
        if out is not None:
            raise click.UsageError("--out lists the studies of a folder; give it or FOLDER")
        one = study_status(require_study_folder(folder))
        echo(json.dumps(one, indent=2) if as_json else _text(one))


def _status_or_problem(folder: Path) -> dict[str, Any]:
    """A study's status; one that cannot be read does not keep the others from being told."""
    from search.errors import EnvironmentProblem
    from search.storage.study_folder import require_own_files
    from search.study.status import study_status

    try:
        require_own_files(folder)
        return study_status(folder)
    except EnvironmentProblem as error:
        return {"schema": 1, "folder": str(folder), "problem": str(error)}


def _list(studies: list[dict[str, Any]]) -> str:
    return "\n".join(
        f"{study['folder']}: {study['problem']}"
        if "problem" in study
        else f"{study['folder']}: {_progress(study)}; best: {_best_in_short(study)}; {_now(study)}"
        for study in studies
    )


def _text(study: dict[str, Any]) -> str:
    from search.cli.result import passed_over_lines
    from search.scheduling.quarantine import QuarantinedMixer

    train, measure = study["train"], study["measure"]
    lines = [
        f"{study['name']} in {study['folder']}: {_budget(study)}",
        f"measured on {measure.get('device')} at {measure.get('image_size')} pixels, batch "
        f"{measure.get('batch_size')}, {measure.get('precision')}; trained on {train.get('data')} "
        f"at {train.get('image_size')} pixels, epochs: {train.get('epochs')}",
        _progress(study),
    ]
    if study["best"] is not None:
        lines.append(f"best: {_candidate(study['best'])}")
    elif study["nearest_miss"] is not None:
        lines.append(f"best: none; nearest miss: {_candidate(study['nearest_miss'])}")
    else:
        lines.append("best: none yet")
    lines += [refuted_text(trial) for trial in study["refuted"]]
    if study["front"]:
        lines.append("front, no trial beats these in everything:")
        lines += [f"  {_candidate(trial)}" for trial in study["front"]]
    if study["not_yet_in_summary"]:
        lines.append(f"trials that ended since that was written: {study['not_yet_in_summary']}")
    lines += [str(QuarantinedMixer.from_data(mixer)) for mixer in study["set_aside"]]
    lines += passed_over_lines(study["passed_over"])
    if study["baselines"]:
        lines += ["baselines:", *(f"  {_baseline(one)}" for one in study["baselines"])]
    if study["last"]:
        lines += ["last trials:", *(f"  {_trial(trial)}" for trial in study["last"])]
    spent = ", ".join(f"{name} {in_time(value)}" for name, value in study["seconds"].items())
    lines.append(f"time spent: {spent or 'none'}")
    lines.append(_now(study))
    return "\n".join(lines)


def _budget(study: dict[str, Any]) -> str:
    limits = study["budget"]
    numbers = {name: limit for name, limit in limits.items() if isinstance(limit, int | float)}
    return f"budget {budget_words(numbers)}"


def _progress(study: dict[str, Any]) -> str:
    trials = study["trials"]
    states = ", ".join(f"{count} {state}" for state, count in sorted(trials["by_state"].items()))
    total = max(trials["total"], trials["counted"])
    return f"{trials['counted']} of {total} trials ({states or 'none'})"


def _now(study: dict[str, Any]) -> str:
    if study["running"]:
        known = f"process {study['pid']}" if study["pid"] else "a process that cannot be told"
        return f"running: {known}"
    if study["outcome"] == "done" and study["trials"]["counted"] >= study["trials"]["total"]:
        total = study["trials"]["total"]
        return f"done; for more: {study['go_on']} --trials N, with N above {total}"
    ended = study["outcome"]
    why = "" if ended in (None, "running") else f" ({ended})"
    return f"stopped{why}; to resume: {study['go_on']}"


def _best_in_short(study: dict[str, Any]) -> str:
    best = study["best"]
    words = "none" if best is None else f"trial {best['trial']}, {best['validation_accuracy']:.4f}"
    return words + "".join(f", trial {trial['trial']} was refuted" for trial in study["refuted"])


def _candidate(trial: dict[str, Any]) -> str:
    parts = [f"trial {trial['trial']}"]
    for mode, found in trial["throughput"].items():
        if "at_most" in found:
            parts.append(f"{mode} at most {found['at_most']:.3g} images/s")
            continue
        parts.append(
            f"{mode} {found['images_per_second']:.0f} images/s [{found['low']:.0f}, "
            f"{found['high']:.0f}]{_margin(found)}"
        )
    latency = trial.get("latency")
    if latency is not None:
        ends = f"[{latency['low']:.3g}, {latency['high']:.3g}]"
        parts.append(f"latency {latency['milliseconds']:.3g} ms {ends}{_margin(latency)}")
    for split in ("validation", "test"):
        if trial[f"{split}_accuracy"] is not None:
            parts.append(f"{split} accuracy {trial[f'{split}_accuracy']:.4f}")
    return ", ".join([*parts, trial["reason"]] if trial["reason"] else parts)


def _margin(measured: dict[str, Any]) -> str:
    return "" if measured["margin"] is None else f", margin {measured['margin']:+.1%}"


def _trial(trial: dict[str, Any]) -> str:
    return _ended(str(trial["trial"]), trial)


def _baseline(baseline: dict[str, Any]) -> str:
    return _ended(Path(baseline["name"]).name, baseline)


def refuted_text(trial: dict[str, Any]) -> str:
    """Return the line on one of `refuted` in summary.json: both measurements, and the reason."""
    again = trial["measured_again"]
    first = [f"trial {trial['trial']}", *_speeds(trial)]
    if trial["accuracy"] is not None:
        first.append(f"validation accuracy {trial['accuracy']:.4f}")
    second = [f"{again['state']} when measured again (trial {again['trial']})", *_speeds(again)]
    reason = again["reason"].partition("\n")[0]
    return f"refuted: {', '.join(first)}; {', '.join(second)}" + (f": {reason}" if reason else "")


def _speeds(trial: dict[str, Any]) -> list[str]:
    return [
        f"{measured['mode']} {speed(measured)} {interval(measured)}"
        for measured in trial["throughput"]
        if all(measured[key] is not None for key in ("images_per_second", "low", "high"))
    ]


def _ended(title: str, trial: dict[str, Any]) -> str:
    parts = [f"{title}  {trial['state']}  {in_time(trial['seconds'])}"]
    parts += [
        f"{measured['mode']} {speed(measured)}"
        for measured in trial["throughput"]
        if measured["images_per_second"] is not None
    ]
    if trial["accuracy"] is not None:
        parts.append(f"accuracy {trial['accuracy']:.4f}")
    return "  ".join([*parts, trial["reason"].partition("\n")[0]]).rstrip()


def in_time(seconds: float) -> str:
    """Hours, minutes and seconds; tenths below a minute."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"

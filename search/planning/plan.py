"""A plan of one study: all of it follows from the seed but what is measured."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

from search.bayesopt.history import NUM_FINALISTS
from search.config.study import Budget, Study
from search.planning.forecast import Forecast, forecast
from search.planning.proportions import share_of, share_of_both
from search.planning.sampling import Drawn, draw_candidates, measure_first, time_trainings
from search.scheduling.successive_halving import Halving
from search.space.search_space import SearchSpace
from search.space.size import size_of
from search.storage.record_reader import read_records
from search.storage.records import TrialState
from search.storage.run_folder import RunFolder
from search.study.runner import StudyRunner
from search.study.summary import describe_trial, nearest_miss

DRAWN = 100  # candidates
TIMED_TRAININGS = 3
_BYTES_OF_A_PARAMETER = 4  # float32
_ADAMW_STATES = 2  # of a parameter, in a checkpoint


def plan_study(runner: StudyRunner, *, measurements: int) -> dict[str, Any]:
    """Return what `search plan --json` prints; write nothing to the study's folder.

    Raises what `StudyRunner.run` raises for what is wrong, and EnvironmentProblem if others at
    work on the device leave no measurement.
    """
    folder = RunFolder(runner.out / runner.study.config.name)
    space, _, _ = runner.prepare(folder)
    study = runner.study
    size = size_of(space)
    with TemporaryDirectory() as name:
        aside = RunFolder(Path(name))
        aside.write_study(study.to_data())
        with closing(runner.executor(aside)) as executor:
            runner.observer.note(f"drawing {DRAWN} candidates")
            drawn = draw_candidates(space, DRAWN, study.config.search.seed, executor)
            possible = len({id(one) for one in drawn if _is_possible(one)})
            if count := min(measurements, possible):
                runner.observer.note(f"measuring {count} of them")
            measured = measure_first(drawn, measurements, executor)
            trainings = time_trainings(measured, TIMED_TRAININGS, executor)
    counted = sum(record.counts for record in read_records(folder.path))
    predicted = forecast(drawn, measured, study.config.budget)
    shares = _shares(drawn, measured, predicted, study.config.budget)
    return {
        "schema": 1,
        "name": study.config.name,
        "folder": str(folder.path),
        "budget": study.config.budget.given(),
        "measure": study.config.measure.model_dump(),
        "train": study.config.train.model_dump(),
        "seed": study.config.search.seed,
        "halving": study.config.search.halving,
        "space": size.to_data(),
        "mixers": _mixers(study, space),
        "baselines": list(study.config.search.baselines),
        "candidates": shares,
        "never": [vars(dead) for dead in predicted.dead(drawn)],
        "nearest_miss": _nearest_miss(drawn, study) if _is_hopeless(shares) else None,
        "cost": _cost(drawn, measured, trainings, shares, study, counted),
        "writes": _writes(drawn, measured, study, folder, counted, len(runner.worker_devices) or 1),
    }


def is_hopeless(plan: dict[str, Any]) -> bool:
    """Return whether no candidate that was drawn meets the budget, as far as they were judged."""
    return _is_hopeless(plan["candidates"])


def _is_hopeless(shares: dict[str, Any]) -> bool:
    return shares["passed"] == 0 and (shares["measured"] > 0 or shares["possible"] == 0)


def _mixers(study: Study, space: SearchSpace) -> dict[str, Any]:
    keys = ("name", "distribution", "version", "origin")
    known = [{key: mixer[key] for key in keys} for mixer in study.frozen_mixers]
    return {"searched": known, "left_out": dict(space.left_out)}


def _shares(
    drawn: Sequence[Drawn], measured: Sequence[Drawn], predicted: Forecast, budget: Budget
) -> dict[str, Any]:
    """Counts and shares; `missed` are misses by counts and floors, `passed` are of `measured`.

    `feasible_share` follows from counts and measurements alone, and from counts alone if these
    decide; `predicted_share` has predictions for what was not measured.
    """
    buildable = [one for one in drawn if one.is_buildable]
    possible = [one for one in buildable if _is_possible(one)]
    passed = sum(one.made_the_budget is True for one in measured)
    unbuildable = len(drawn) - len(buildable)
    of_possible, of_measured = (len(possible), len(buildable)), (passed, len(measured))
    with_predictions = predicted.share(buildable) if buildable else None
    feasible = share_of_both(of_possible, of_measured) if measured else None
    counts_decide = not budget.speeds and budget.memory is None
    if buildable and (counts_decide or not possible):
        feasible = share_of(*of_possible)
    reasons = Counter(
        one.record.reason.partition("\n")[0]
        for one in {id(one): one for one in drawn}.values()
        if one.record.state is TrialState.FAILED
    )
    return {
        "drawn": len(drawn),
        "unbuildable": unbuildable,
        "missed": len(buildable) - len(possible),
        "possible": len(possible),
        "measured": len(measured),
        "passed": passed,
        "failures": dict(reasons),
        "unbuildable_share": share_of(unbuildable, len(drawn)).to_data(),
        "possible_share": share_of(*of_possible).to_data() if buildable else None,
        "passed_share": share_of(*of_measured).to_data() if measured else None,
        "feasible_share": None if feasible is None else feasible.to_data(),
        "predicted_share": None if with_predictions is None else with_predictions.to_data(),
        "prediction_errors": dict(predicted.errors),
    }


def _is_possible(one: Drawn) -> bool:
    """Return whether counts and floors let it pass, whatever a measurement said then."""
    return one.measured or one.record.state in (TrialState.COMPLETE, TrialState.INTERRUPTED)


def _nearest_miss(drawn: Sequence[Drawn], study: Study) -> dict[str, Any] | None:
    miss = nearest_miss([one.record for one in drawn])
    return None if miss is None else describe_trial(miss, study, None)


def _cost(
    drawn: Sequence[Drawn],
    measured: Sequence[Drawn],
    trainings: Sequence[float],
    shares: dict[str, Any],
    study: Study,
    counted: int,
) -> dict[str, Any]:
    """Seconds of a trial by its parts, and of all trials: as candidates are drawn, and at most.

    A search learns to avoid what is rejected, and then trains more of its candidates. With halving
    most are trained for some of the epochs only, which `trained_share` tells.
    """
    config = study.config
    trials, factor = max(0, config.search.trials - counted), config.search.halving
    epochs = config.train.epochs
    mean_epochs = epochs if factor is None else Halving(epochs, factor).mean_epochs
    found: dict[str, Any] = {
        "trials": trials,
        "counted_already": counted,
        "seconds_per_count": _mean(drawn, "build"),
        "seconds_per_measurement": _mean(measured, "measure"),
        "seconds_per_training": fmean(trainings) if trainings else None,
        "trainings_timed": len(trainings),
        "trained_share": mean_epochs / epochs,
        "seconds_as_drawn": None,
        "seconds_at_most": None,
    }
    if trainings:
        count, measure = found["seconds_per_count"] or 0.0, found["seconds_per_measurement"] or 0.0
        train = found["seconds_per_training"]
        expected = count + shares["possible_share"]["value"] * measure
        passing = (shares["predicted_share"] or shares["feasible_share"])["value"]
        expected += passing * train * found["trained_share"]
        found["seconds_as_drawn"] = trials * expected
        found["seconds_at_most"] = trials * (count + measure + train)
    return found


def _mean(of: Sequence[Drawn], part: str) -> float | None:
    found = [one.record.seconds[part] for one in of if part in one.record.seconds]
    return fmean(found) if found else None


def _writes(
    drawn: Sequence[Drawn],
    measured: Sequence[Drawn],
    study: Study,
    folder: RunFolder,
    counted: int,
    num_workers: int,
) -> dict[str, Any]:
    """The files of the run folder, about how large those that grow will be, in bytes, and how many
    files of weights and checkpoints there are at a time, at the most."""
    config = study.config
    trials = max(config.search.trials, counted)
    params = [one.record.params for one in drawn if _is_possible(one) and one.record.params]
    largest = _BYTES_OF_A_PARAMETER * max(params, default=0)
    copies = 1 + _ADAMW_STATES + (config.train.ema_decay is not None)
    lines = [len(json.dumps(one.record.to_data())) for one in measured]
    files = ["study.yaml", "journal.log", "trials.jsonl", "best.yaml", "best.safetensors"]
    files += ["summary.json", "checkpoints/", "errors.log", "study.lock", "journal.lock"]
    files += ["baselines.jsonl"] if config.search.baselines else []
    files += ["weights/"] if config.train.inherit else []
    finalists = NUM_FINALISTS if config.budget.speeds else 1
    return {
        "folder": str(folder.path),
        "is_there": folder.study.exists(),
        "files": files,
        "weights_bytes_at_most": largest,
        "num_weights_at_most": finalists + config.train.inherit * trials,
        "checkpoint_bytes_at_most": copies * largest,
        "num_checkpoints_at_most": num_workers if config.search.halving is None else trials,
        "record_bytes": round(fmean(lines)) if lines else None,
    }

"""A plan of the tiny study, whose candidates are judged without running them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from previewing import InPreview, Preview
from studies import Heard, runner
from tiny import STUDY, write_study

from metaformer import SpecError
from mixers import MixerRegistry
from search.config.load import load_study
from search.errors import EnvironmentProblem, UsageError
from search.planning import plan
from search.planning.plan import DRAWN, is_hopeless, plan_study
from search.study.loop import MAX_UNMEASURED_RUNNING
from search.study.runner import StudyRunner


@pytest.fixture
def preview(monkeypatch: pytest.MonkeyPatch) -> Preview:
    made = Preview()
    executor = InPreview(made, lambda *_error: None)
    monkeypatch.setattr(StudyRunner, "executor", lambda _self, _folder: executor)
    return made


def planned(registry: MixerRegistry, measurements: int = 6, **overrides: Any) -> dict[str, Any]:
    return plan_study(runner(registry, **overrides), measurements=measurements)


def test_it_says_how_large_the_space_is_and_what_of_it_makes_the_budget(
    registry: MixerRegistry, preview: Preview
) -> None:
    found = planned(registry)
    assert found["space"] == {"combinations": 18, "continuous": []}
    candidates = found["candidates"]
    assert candidates["drawn"] == DRAWN
    assert candidates["missed"] + candidates["possible"] == DRAWN
    assert candidates["missed"] == pytest.approx(DRAWN / 3, abs=15)  # of three widths one is large
    assert candidates["measured"] == 6
    assert 0 < candidates["passed"] < 6
    share = candidates["feasible_share"]
    assert share["low"] < share["value"] < share["high"]
    assert share["value"] == pytest.approx(
        candidates["possible_share"]["value"] * candidates["passed_share"]["value"]
    )
    assert [mixer["name"] for mixer in found["mixers"]["searched"]] == ["identity", "pooling"]
    assert preview.asked.count("measure_only") == 6
    assert preview.asked[-1] == "close"


def test_what_was_not_measured_is_predicted(registry: MixerRegistry, preview: Preview) -> None:
    few = planned(registry, measurements=6)["candidates"]
    assert few["predicted_share"] is None
    assert few["prediction_errors"] == {}
    found = planned(registry, measurements=12, search={"trials": 40})
    share = found["candidates"]["predicted_share"]
    assert share["value"] == pytest.approx(
        1 / 3, abs=0.15
    )  # of two mixers one, of three widths two
    assert share["low"] < share["value"] < share["high"]
    cost = found["cost"]
    expected = 0.5 + found["candidates"]["possible_share"]["value"] * 2.0 + share["value"] * 10
    assert cost["seconds_as_drawn"] == pytest.approx(40 * expected)


def test_equal_candidates_are_looked_at_once(registry: MixerRegistry, preview: Preview) -> None:
    found = planned(registry, measurements=50)
    assert preview.asked.count("precheck") <= 18
    assert found["candidates"]["measured"] <= 12


def test_nothing_is_written(registry: MixerRegistry, preview: Preview) -> None:
    found = planned(registry)
    assert sorted(path.name for path in Path().iterdir()) == ["tiny.yaml"]
    assert found["writes"]["is_there"] is False
    assert found["writes"]["weights_bytes_at_most"] == 4 * 6000
    assert found["writes"]["checkpoint_bytes_at_most"] == 3 * 4 * 6000


def test_it_is_the_same_again_and_another_with_another_seed(
    registry: MixerRegistry, preview: Preview
) -> None:
    first = planned(registry)
    assert planned(registry) == first
    assert planned(registry, search={"seed": 1})["candidates"] != first["candidates"]


def test_the_cost_is_that_of_a_trial_times_their_number(
    registry: MixerRegistry, preview: Preview
) -> None:
    found = planned(registry, search={"trials": 40})
    cost, shares = found["cost"], found["candidates"]
    assert (cost["seconds_per_measurement"], cost["seconds_per_training"]) == (2.0, 10.0)
    expected = (
        0.5 + shares["possible_share"]["value"] * 2.0 + shares["feasible_share"]["value"] * 10
    )
    assert cost["seconds_as_drawn"] == pytest.approx(40 * expected)
    assert cost["seconds_at_most"] == pytest.approx(40 * 12.5)


@pytest.mark.parametrize("measurements", [0, 6])
def test_where_counts_decide_they_tell_the_share(
    registry: MixerRegistry, preview: Preview, measurements: int
) -> None:
    counted = load_study(
        write_study(STUDY.replace("{train: 1}", "{params: 5000}")), {}, device="cpu"
    )
    found = planned(registry, measurements=measurements, study=counted)["candidates"]
    assert 0 < found["possible"] < DRAWN
    assert found["feasible_share"] == found["possible_share"]


def test_halving_and_inheritance_are_in_what_is_spent_and_written(
    registry: MixerRegistry, preview: Preview
) -> None:
    found = planned(registry)
    assert found["cost"]["trained_share"] == 1.0
    assert found["writes"]["num_weights_at_most"] == 3  # until the best is confirmed
    assert found["writes"]["num_checkpoints_at_most"] == 1
    train = {"epochs": 9, "inherit": True}
    halved = planned(registry, train=train, search={"trials": 40, "halving": 3})
    cost, shares = halved["cost"], halved["candidates"]
    assert cost["trained_share"] == pytest.approx((1 + 2 / 3 + 6 / 9) / 9)
    assert cost["seconds_as_drawn"] == pytest.approx(
        40
        * (
            0.5
            + shares["possible_share"]["value"] * 2.0
            + shares["feasible_share"]["value"] * 10 * cost["trained_share"]
        )
    )
    assert "weights/" in halved["writes"]["files"]
    assert halved["writes"]["num_weights_at_most"] == 3 + 40
    assert halved["writes"]["num_checkpoints_at_most"] == 40


def test_a_study_under_way_is_planned_for_what_is_left_of_it(
    registry: MixerRegistry, preview: Preview
) -> None:
    runner(registry).run()
    before = {path: path.read_bytes() for path in Path("runs/tiny").iterdir()}
    found = planned(registry, search={"trials": 10})
    assert (found["cost"]["trials"], found["cost"]["counted_already"]) == (7, 3)
    assert found["writes"]["is_there"] is True
    assert {path: path.read_bytes() for path in Path("runs/tiny").iterdir()} == before
    with pytest.raises(UsageError, match="another study of this name"):
        planned(registry, budget={"train": 7})


def test_values_that_never_make_the_budget_are_listed(
    registry: MixerRegistry, preview: Preview
) -> None:
    found = planned(registry, measurements=12)
    never = {(dead["parameter"], dead["value"]): dead["judged"] for dead in found["never"]}
    assert never.keys() == {("stages.0.width", 8), ("stages.0.mixer", "pooling")} | {
        ("stages.0.pooling.pool_size", size) for size in (3, 5)
    }
    assert never["stages.0.width", 8] == found["candidates"]["missed"]


def test_without_measurements_there_are_counts_and_floors_only(
    registry: MixerRegistry, preview: Preview
) -> None:
    found = planned(registry, measurements=0)
    assert "measure_only" not in preview.asked
    assert found["candidates"]["feasible_share"] is None
    assert found["cost"]["seconds_as_drawn"] is None
    assert [dead["value"] for dead in found["never"]] == [8]
    assert not is_hopeless(found)


def test_where_nothing_makes_the_budget_the_nearest_miss_is_told(
    registry: MixerRegistry, preview: Preview
) -> None:
    preview.largest_width = 3
    found = planned(registry, measurements=0)
    assert is_hopeless(found)
    assert found["nearest_miss"]["reason"] == "params: too many"
    assert "4 metanext" in found["nearest_miss"]["stages"][0]
    preview.largest_width, preview.too_slow, preview.raising = 8, "pooling", "identity"
    found = planned(registry)
    assert is_hopeless(found)
    assert found["nearest_miss"]["throughput"]["train"]["margin"] == pytest.approx(-0.5)
    assert found["candidates"]["failures"]["KeyError: 'in a mixer'"] > 0


def test_what_cannot_be_built_is_counted_apart(registry: MixerRegistry, preview: Preview) -> None:
    preview.unbuildable_width = 4
    found = planned(registry)["candidates"]
    assert found["unbuildable"] == pytest.approx(DRAWN / 3, abs=15)
    assert found["unbuildable"] + found["missed"] + found["possible"] == DRAWN
    assert found["possible_share"]["value"] == found["possible"] / (DRAWN - found["unbuildable"])


def test_others_at_work_are_an_environments_problem(
    registry: MixerRegistry, preview: Preview
) -> None:
    preview.busy = True
    with pytest.raises(EnvironmentProblem, match="no valid sample; try again when it is idle"):
        planned(registry)
    assert preview.asked.count("measure_only") == MAX_UNMEASURED_RUNNING


def test_it_refuses_what_a_run_refuses(registry: MixerRegistry, preview: Preview) -> None:
    text = STUDY.replace("kernel_size: 2, stride: 2", "kernel_size: 16, stride: 16")
    study = load_study(write_study(text), {}, device="cpu")
    with pytest.raises(SpecError, match="none of 50 candidates"):
        planned(registry, study=study)
    with pytest.raises(UsageError, match="timm has no such model"):
        planned(registry, search={"baselines": ["timm:resnet5"]})


def test_all_of_it_runs_on_the_real_path(
    registry: MixerRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "DRAWN", 6)
    heard = Heard()
    found = plan_study(runner(registry, heard=heard), measurements=1)
    assert found["candidates"]["passed"] == 1
    assert found["cost"]["trainings_timed"] == 1
    assert found["cost"]["seconds_per_training"] > 0
    assert found["writes"]["record_bytes"] > 500
    assert "time some steps of a training" in heard.phases
    assert not Path("runs").exists()

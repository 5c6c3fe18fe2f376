from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
from tiny import STUDY, write_study

from metaformer import BackboneSpec, Problem, SpecError
from mixers import MixerRegistry
from search.config.load import load_study
from search.config.study import Budget
from search.scheduling.pareto import front_scores
from search.scheduling.strategy import SpaceExhausted, Strategy
from search.space.search_space import SearchSpace
from search.storage.records import TrialRecord, TrialState
from search.storage.run_folder import RunFolder
from search.storage.trial_store import TrialStore

BUDGET = Budget(train=1.0)


@pytest.fixture
def store(tmp_path: Path) -> TrialStore:
    folder = RunFolder(tmp_path / "study")
    folder.create()
    return TrialStore("s", folder)


@pytest.fixture
def space(registry: MixerRegistry) -> SearchSpace:
    study = load_study(write_study(), {}, device="cpu")
    return SearchSpace(study.space, registry, fields={"name": "x", "num_classes": 10})


def finish(store: TrialStore, strategy: Strategy, accuracy: float) -> str:
    trial, spec = strategy.propose()
    score = {"metric": "accuracy", "value": accuracy, "epochs": 1, "split": "validation"}
    record = TrialRecord(
        number=trial.number, state=TrialState.COMPLETE, score=score, digest=spec.digest
    )
    store.finish(trial, record)
    return spec.digest


def test_no_backbone_is_proposed_twice_and_a_space_that_is_known_says_so(
    store: TrialStore, space: SearchSpace
) -> None:
    strategy = Strategy(store, space, BUDGET, seed=0)
    # depth 2 × width 3 × (identity, pooling of size 3 or 5)
    digests = [finish(store, strategy, 0.1 * number) for number in range(18)]
    assert len(set(digests)) == 18
    with pytest.raises(SpaceExhausted):
        strategy.propose()


def test_what_cannot_be_built_is_passed_over_and_leaves_no_trial(
    store: TrialStore, space: SearchSpace
) -> None:
    def narrow_only(spec: BackboneSpec) -> None:
        if spec.stages[0].width > 4:
            raise SpecError(Problem("stages[0].width", "too wide"))

    strategy = Strategy(store, space, BUDGET, seed=0, check=narrow_only)
    for _ in range(6):  # depth 2 × (identity, pooling of size 3 or 5)
        finish(store, strategy, 0.5)
    with pytest.raises(SpaceExhausted):
        strategy.propose()
    assert store.counted == len(store.study.get_trials()) == 6


def test_proposals_follow_from_the_seed(tmp_path: Path, space: SearchSpace) -> None:
    def proposals(name: str, seed: int) -> list[str]:
        folder = RunFolder(tmp_path / name)
        folder.create()
        store = TrialStore("s", folder)
        return [finish(store, Strategy(store, space, BUDGET, seed), 0.5) for _ in range(10)]

    assert proposals("a", 1) == proposals("b", 1)
    assert proposals("c", 1) != proposals("d", 2)


def test_a_candidate_that_was_interrupted_is_proposed_again(
    store: TrialStore, space: SearchSpace
) -> None:
    strategy = Strategy(store, space, BUDGET, seed=0)
    trial, spec = strategy.propose()
    record = TrialRecord(number=trial.number, state=TrialState.INTERRUPTED, digest=spec.digest)
    store.enqueue_again(trial, died=False)
    store.finish(trial, record)
    assert strategy.propose()[1].digest == spec.digest


@pytest.fixture
def with_illegal_pairs(registry: MixerRegistry) -> SearchSpace:
    """A MetaNeXt block may not have what a MetaFormer's may."""
    text = STUDY.replace("block: metanext", "block: {choice: [metaformer, metanext]}").replace(
        "mixer:", "residual_scale: {choice: [null, 1.0]}\n      mixer:"
    )
    study = load_study(write_study(text), {}, device="cpu")
    return SearchSpace(study.space, registry, fields={"name": "x", "num_classes": 10})


def test_values_that_are_legal_each_but_not_together_are_passed_over(
    store: TrialStore, with_illegal_pairs: SearchSpace
) -> None:
    strategy = Strategy(store, with_illegal_pairs, BUDGET, seed=0)
    for number in range(12):
        finish(store, strategy, 0.1 * number)
    assert store.counted == len(store.study.get_trials()) == 12


def test_what_is_under_way_is_not_proposed_again(store: TrialStore, space: SearchSpace) -> None:
    strategy = Strategy(store, space, BUDGET, seed=0)
    under_way = [strategy.propose() for _ in range(18)]
    assert len({spec.digest for _, spec in under_way}) == 18
    with pytest.raises(SpaceExhausted):
        strategy.propose()


def test_a_resumed_study_proposes_nothing_that_is_under_way_elsewhere(
    store: TrialStore, space: SearchSpace
) -> None:
    elsewhere = [spec.digest for _, spec in (Strategy(store, space, BUDGET, 1).propose(),)]
    strategy = Strategy(store, space, BUDGET, seed=0)
    for _ in range(17):
        trial, spec = strategy.propose(pending=elsewhere)
        assert spec.digest not in elsewhere
        record = TrialRecord(number=trial.number, state=TrialState.REJECTED, digest=spec.digest)
        store.finish(trial, record)
    with pytest.raises(SpaceExhausted):
        strategy.propose(pending=elsewhere)


def measured(store: TrialStore, strategy: Strategy, *, limit: float) -> TrialRecord:
    """A trial on a device where wide and deep networks are slow, and score best."""
    trial, spec = strategy.propose()
    speed = 10 / (spec.stages[0].depth * spec.stages[0].width)
    record = TrialRecord(number=trial.number, state=TrialState.REJECTED, digest=spec.digest)
    record.measurements.append({"mode": "train", "images_per_second": speed})
    record.constraints["throughput.train"] = math.log(limit / speed)
    if speed >= limit:
        record.state = TrialState.COMPLETE
        record.score = {"value": 1 / speed, "epochs": 1}
    store.finish(trial, record)
    return record


def test_it_learns_which_networks_make_the_budget_from_those_that_do_not(
    tmp_path: Path, registry: MixerRegistry
) -> None:
    text = STUDY.replace("[4, 6, 8]", "[4, 6, 8, 10, 12, 14, 16, 18, 20]").replace(
        "[1, 2]", "[1, 2, 3, 4]"
    )
    study = load_study(write_study(text), {}, device="cpu")
    space = SearchSpace(study.space, registry, fields={"name": "x", "num_classes": 10})
    folder = RunFolder(tmp_path / "study")
    folder.create()
    store = TrialStore("s", folder)
    limit = 10 / 12  # of 36 pairs of depth and width, eight make it
    strategy = Strategy(store, space, Budget(train=limit), seed=0)
    records = [measured(store, strategy, limit=limit) for _ in range(30)]
    assert sum(r.state is TrialState.COMPLETE for r in records[6:18]) >= 10  # one in five drawn is
    assert max(r.accuracy or 0 for r in records) == pytest.approx(1.2)  # the best there is
    prediction = strategy.prediction()
    assert prediction["ruled_out"] > 0
    assert prediction["relative_error"]["train"] < 0.1


def test_for_a_front_all_trials_are_scored_anew_after_each_that_was_trained(
    store: TrialStore, space: SearchSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored: list[set[int]] = []

    def front(records: Sequence[TrialRecord], axes: Sequence[str], generator: Any) -> Any:
        scores = front_scores(records, axes, generator)
        scored.append(set(scores))
        return scores

    monkeypatch.setattr("search.scheduling.strategy.front_scores", front)
    strategy = Strategy(store, space, Budget(), seed=0, axes=("accuracy", "params"))
    for number in range(8):
        trial, spec = strategy.propose()
        record = TrialRecord(number=trial.number, state=TrialState.REJECTED, digest=spec.digest)
        if number != 3:
            record.state, record.params = TrialState.COMPLETE, 100 * spec.stages[0].width
            record.score = {"value": 0.1 * number}
        store.finish(trial, record)
    strategy.propose()
    assert scored == [set(range(n)) - {3} for n in (1, 2, 3, 5, 6, 7, 8)]


def test_what_waits_though_it_was_tried_meanwhile_is_not_tried_twice(
    store: TrialStore, space: SearchSpace
) -> None:
    strategy = Strategy(store, space, BUDGET, seed=0)
    tried = finish(store, strategy, 0.5)
    for _ in range(2):
        store.study.enqueue_trial(store.params()[0])
    trial, spec = strategy.propose()
    assert spec.digest != tried
    assert trial.number == 3
    store.enqueue_confirmation(0)
    assert strategy.propose()[1].digest == tried


def test_a_proposal_in_the_middle_of_which_the_process_dies_comes_again_whole(
    store: TrialStore, space: SearchSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    meant: list[str] = []

    def die_after_the_first_value(_self: SearchSpace, trial: optuna.Trial) -> BackboneSpec:
        (waited,) = store.study.get_trials(deepcopy=False)
        meant.append(json.dumps(waited.system_attrs["fixed_params"], sort_keys=True))
        trial.suggest_categorical("stages.0.depth", (1, 2))
        raise KeyboardInterrupt

    with monkeypatch.context() as dying:
        dying.setattr(SearchSpace, "suggest", die_after_the_first_value)
        with pytest.raises(KeyboardInterrupt):
            Strategy(store, space, BUDGET, seed=0).propose()
    trial, _ = Strategy(TrialStore("s", store._folder), space, BUDGET, seed=0).propose()
    assert [json.dumps(trial.params, sort_keys=True)] == meant


def test_values_that_wait_and_make_no_backbone_together_are_passed_over(
    store: TrialStore, with_illegal_pairs: SearchSpace
) -> None:
    pair = {"stages.0.block": "metanext", "stages.0.residual_scale": 1.0}
    assert pair.keys() <= with_illegal_pairs.parameters.keys()
    store.study.enqueue_trial(pair)
    trial, _ = Strategy(store, with_illegal_pairs, BUDGET, seed=0).propose()
    assert trial.number == 1


def test_what_nobody_will_ask_for_again_is_forgotten(
    store: TrialStore, registry: MixerRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.scheduling.strategy.FORGET_ABOVE", 50)
    monkeypatch.setattr("search.bayesopt.proposer.MAX_POOL", 40)
    text = STUDY.replace("[4, 6, 8]", "{range: [4, 400, 1]}").replace("{choice: {range", "{range")
    text = text.replace("width: {choice: ", "width: ").replace("1]}}", "1]}")
    study = load_study(write_study(text), {}, device="cpu")
    space = SearchSpace(study.space, registry, fields={"name": "x", "num_classes": 10})
    strategy = Strategy(store, space, Budget(params=10**9), seed=0)
    for number in range(20):
        finish(store, strategy, 0.01 * number)
    known = 20 + 40  # tried, and in the pool
    assert len(strategy._proposer._rows) <= known
    assert len(strategy._drawn) <= 50 + 2 * 20 + known

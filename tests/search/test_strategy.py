from __future__ import annotations

from pathlib import Path

import pytest
from tiny import STUDY, write_study

from metaformer import BackboneSpec, Problem, SpecError
from mixers import MixerRegistry
from search.records import TrialRecord, TrialState
from search.run_folder import RunFolder
from search.space import SearchSpace
from search.strategy import SpaceExhausted, Strategy
from search.study_file import load_study
from search.trial_store import TrialStore


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
    strategy = Strategy(store, space, seed=0)
    # depth 2 × width 3 × (identity, pooling of size 3 or 5)
    digests = [finish(store, strategy, 0.1 * number) for number in range(18)]
    assert len(set(digests)) == 18
    with pytest.raises(SpaceExhausted):
        strategy.propose()


def test_what_is_under_way_is_not_proposed_beside_it(store: TrialStore, space: SearchSpace) -> None:
    strategy = Strategy(store, space, seed=0)
    pending: dict[str, int] = {}
    for _ in range(18):
        trial, spec = strategy.propose(pending)
        assert spec.digest not in pending
        pending[spec.digest] = trial.number
    with pytest.raises(SpaceExhausted):
        strategy.propose(pending)


def test_what_cannot_be_built_is_passed_over_and_the_sampler_is_told(
    store: TrialStore, space: SearchSpace
) -> None:
    def narrow_only(spec: BackboneSpec) -> None:
        if spec.stages[0].width > 4:
            raise SpecError(Problem("stages[0].width", "too wide"))

    strategy = Strategy(store, space, seed=0, check=narrow_only)
    for _ in range(6):  # depth 2 × (identity, pooling of size 3 or 5)
        finish(store, strategy, 0.5)
    with pytest.raises(SpaceExhausted):
        strategy.propose()
    assert store.counted == 6
    refused = [t for t in store.study.get_trials() if "too wide" in str(t.user_attrs)]
    assert refused
    assert all(trial.constraints["buildable"] > 0 for trial in refused)


def test_proposals_follow_from_the_seed(tmp_path: Path, space: SearchSpace) -> None:
    def proposals(name: str, seed: int) -> list[str]:
        folder = RunFolder(tmp_path / name)
        folder.create()
        store = TrialStore("s", folder)
        return [finish(store, Strategy(store, space, seed), 0.5) for _ in range(10)]

    assert proposals("a", 1) == proposals("b", 1)
    assert proposals("c", 1) != proposals("d", 2)


def test_a_candidate_that_was_interrupted_is_proposed_again(
    store: TrialStore, space: SearchSpace
) -> None:
    strategy = Strategy(store, space, seed=0)
    trial, spec = strategy.propose()
    record = TrialRecord(number=trial.number, state=TrialState.INTERRUPTED, digest=spec.digest)
    store.enqueue_again(trial, died=False)
    store.finish(trial, record)
    assert strategy.propose()[1].digest == spec.digest


def test_values_that_are_legal_each_but_not_together_are_passed_over(
    store: TrialStore, registry: MixerRegistry
) -> None:
    text = STUDY.replace("block: metanext", "block: {choice: [metaformer, metanext]}").replace(
        "mixer:", "residual_scale: {choice: [null, 1.0]}\n      mixer:"
    )
    study = load_study(write_study(text), {}, device="cpu")
    space = SearchSpace(study.space, registry, fields={"name": "x", "num_classes": 10})
    strategy = Strategy(store, space, seed=0)
    for number in range(12):
        finish(store, strategy, 0.1 * number)
    assert store.counted == 12
    discarded = [t for t in store.study.get_trials() if "discarded" in t.user_attrs]
    assert any("metanext has none" in t.user_attrs["discarded"] for t in discarded)

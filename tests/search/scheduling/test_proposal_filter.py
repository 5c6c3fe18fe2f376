"""What a study may propose, and after which failures it can continue."""

from __future__ import annotations

import pytest
from failures import MIXERS, measured, trial

from metaformer import BackboneSpec, SpecError, StageSpec, StemSpec
from search.scheduling.proposal_filter import ProposalFilter
from search.storage.records import TrialRecord, TrialState

LOST = TrialState.LOST


def spec(*mixers: str) -> BackboneSpec:
    stages = [
        StageSpec.model_validate(
            {"depth": 1, "width": 8, "block": "metanext", "mixer": mixer, "norm": "batch_norm"}
        )
        for mixer in mixers
    ]
    return BackboneSpec(name="x", stem=StemSpec(kernel_size=2, stride=2), stages=tuple(stages))


def check(records: list[TrialRecord]) -> tuple[ProposalFilter, list[str], list[BackboneSpec]]:
    notes: list[str] = []
    built: list[BackboneSpec] = []
    return ProposalFilter(records, MIXERS, built.append, notes.append), notes, built


def test_a_candidate_with_a_mixer_that_is_set_aside_is_refused_at_its_stage() -> None:
    proposable, _, built = check([trial(number, "a") for number in range(3)])
    proposable(spec("b", "c"))
    assert len(built) == 1
    with pytest.raises(SpecError, match=r"stages\[1\].mixer: mixer a is set aside: it failed in"):
        proposable(spec("b", "a"))
    assert len(built) == 1


def test_each_change_is_told_once_while_records_grow() -> None:
    records = [trial(number, "others/x c", LOST) for number in range(2)]
    proposable, notes, _ = check(records)
    proposable(spec("c"))
    assert notes == []
    records.append(trial(2, "others/x c", LOST))
    for _ in range(2):
        proposable(spec("c"))
    assert [note.partition(":")[0] for note in notes] == ["mixer others/x is set aside"]
    records += [trial(number, "c") for number in range(3, 6)]
    proposable(spec("others/x"))
    assert [note.partition(":")[0] for note in notes[1:]] == [
        "mixer c is set aside",
        "mixer others/x is no longer set aside",
    ]


def test_a_failure_is_explained_by_a_mixer_that_is_set_aside() -> None:
    records = [trial(number, "a b", LOST) for number in range(2)]
    proposable, _, _ = check(records)
    assert not any(proposable.explains(record) for record in records)
    records.append(trial(2, "a"))
    assert proposable.explains(records[-1])


def test_once_anything_has_worked_a_mixer_that_only_failed_may_explain_a_failure() -> None:
    records = [trial(0, "a b"), measured(1, "b c")]
    proposable, _, _ = check(records)
    assert proposable.explains(records[0])
    assert not proposable.explains(trial(2, "b c"))
    assert not proposable.explains(trial(2, "a", reason="diverged: the loss became nan"))

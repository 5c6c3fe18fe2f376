"""Which mixers are set aside, from records alone."""

from __future__ import annotations

import dataclasses

import pytest
from failures import MIXERS, measured, mixer, trial

from search.scheduling.proposal_filter import ProposalFilter
from search.scheduling.quarantine import FAILED_CANDIDATES, QuarantinedMixer, set_aside
from search.storage.records import TrialState

FAILED, LOST, TIMEOUT = TrialState.FAILED, TrialState.LOST, TrialState.TIMEOUT


def test_three_failed_candidates_set_a_mixer_aside_with_trials_and_reasons() -> None:
    records = [trial(1, "a"), trial(4, "a", reason="OSError: 5\nmore"), trial(7, "a")]
    assert set_aside(records[:2], MIXERS) == {}
    found = set_aside(records, MIXERS)
    assert str(found["a"]) == (
        "mixer a is set aside: it failed in trials 1, 4, 7: KeyError: 'x'; OSError: 5"
    )
    assert found == {"a": QuarantinedMixer.from_data(found["a"].to_data())}


@pytest.mark.parametrize("state", [FAILED, LOST, TIMEOUT])
def test_a_process_that_dies_or_takes_too_long_counts_as_a_failure(state: TrialState) -> None:
    assert "a" in set_aside([trial(n, "a", state) for n in range(FAILED_CANDIDATES)], MIXERS)


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (FAILED, "diverged: the loss became nan"),
        (FAILED, "TrainerError: trainer local/mine: KeyError: 1"),
        (FAILED, "the study's process died 10 times while this was under way"),
        (TrialState.REJECTED, "params: 5 of 4 allowed"),
        (TrialState.OOM, "can't allocate memory"),
        (TrialState.INTERRUPTED, "stopped by the user"),
    ],
)
def test_what_is_not_the_mixers_failure_does_not_count(state: TrialState, reason: str) -> None:
    records = [trial(number, "a", state, reason=reason) for number in range(5)]
    assert set_aside(records, MIXERS) == {}


@pytest.mark.parametrize("place", [0, 2, 5])
def test_a_mixer_that_has_been_measured_once_is_not_set_aside(place: int) -> None:
    records = [trial(number, "a") for number in range(5)]
    records.insert(place, measured(9, "a"))
    assert set_aside(records, MIXERS) == {}
    records[place] = trial(9, "a", reason="diverged: the loss became nan")
    assert set_aside(records, MIXERS) == {}


def test_three_attempts_at_one_candidate_are_one_piece_of_evidence() -> None:
    attempts = [trial(n, "a", LOST, digest="same") for n in range(2)] + [
        trial(2, "a", digest="same")
    ]
    assert set_aside(attempts, MIXERS) == {}
    assert set_aside([*attempts, trial(3, "a"), trial(4, "a")], MIXERS)["a"].trials == (2, 3, 4)


def test_a_candidate_that_failed_only_at_first_counts_for_its_mixers() -> None:
    again = trial(3, "a", TrialState.COMPLETE, digest="d0")
    assert set_aside([trial(0, "a", LOST), trial(1, "a"), trial(2, "a"), again], MIXERS) == {}


def test_what_one_mixer_explains_counts_against_no_other() -> None:
    records = [trial(0, "a b", LOST), trial(1, "a b", LOST), trial(2, "a"), trial(3, "a b", LOST)]
    assert list(set_aside(records, MIXERS)) == ["a"]
    records += [trial(number, "c") for number in range(4, 7)]
    assert list(set_aside(records, MIXERS)) == ["a", "c"]


def test_of_two_that_only_ever_failed_together_it_is_the_strangers() -> None:
    records = [trial(number, "a others/x z", LOST) for number in range(3)]
    assert list(set_aside(records, [*MIXERS, mixer("z")])) == ["others/x"]


def test_a_mixer_that_was_blamed_for_anothers_failures_comes_back() -> None:
    together = [trial(number, "others/x c", LOST) for number in range(3)]
    assert list(set_aside(together, MIXERS)) == ["others/x"]
    alone = [trial(number, "c") for number in range(3, 6)]
    assert list(set_aside([*together, *alone], MIXERS)) == ["c"]


@pytest.mark.parametrize("change", [{"version": "2.0"}, {"files": "g"}])
def test_another_version_begins_anew(change: dict[str, str]) -> None:
    records = [trial(number, "a") for number in range(3)]
    now = [mixer("a", **change)]
    assert set_aside(records, now) == {}
    newer = [trial(number, "a", mixers=now) for number in range(3, 6)]
    assert set_aside([*records, *newer], now)["a"].trials == (3, 4, 5)


def test_an_exception_of_no_mixers_code_counts_against_none_before_anything_has_worked() -> None:
    records = [trial(number, "a", mixer_at_fault=None) for number in range(4)]
    assert set_aside(records, MIXERS) == {}
    assert list(set_aside([*records, measured(9, "b")], MIXERS)) == ["a"]


def test_a_failure_counts_against_the_mixer_at_fault_alone() -> None:
    records = [trial(number, "a others/x", mixer_at_fault="a") for number in range(3)]
    assert list(set_aside(records, MIXERS)) == ["a"]


def test_a_divergence_is_explained_where_others_have_been_trained() -> None:
    diverged = trial(0, "a", FAILED, reason="diverged: the loss became nan")
    records = [diverged]
    check = ProposalFilter(records, MIXERS, lambda _spec: None, lambda _words: None)
    assert not check.explains(diverged)
    score = {"value": 0.5, "epochs": 1}
    records.append(dataclasses.replace(trial(1, "b", TrialState.COMPLETE), score=score))
    assert check.explains(diverged)

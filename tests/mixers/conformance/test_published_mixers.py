"""Good mixers after published ones fail nothing; each with one fault is answered by its check."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from published_mixers import BAD, GOOD
from published_mixers.bad_in_process import StartsProcess

from mixers.conformance import Status, check_mixer

ANSWERS = {Status.FAILED, Status.WARNING}
REFUSING = [
    "signature",
    "gradients_fp32",
    "gradients_bf16",
    "gradient_values",
    "batch_independence",
    "meta_device",
    "safetensors",
    "serialisation",
    "channels_last",
    "macs",
]  # good ones, once
SPECIAL = [
    "GlobalFilter",
    "FourierNeuralOperator",
    "LongConvolution",
    "FourierFeatures",
    "WeightNormalised",
    "SpectrallyNormalised",
    "Tied",
    "Involution",
    "Cosine",
    "RmsNormalised",
    "FullPrecisionIsland",
    "StateSpace",
    "Cycle",
]


@pytest.fixture(autouse=True)
def _nothing_is_left_running() -> Iterator[None]:
    yield
    while StartsProcess.all_started:
        process = StartsProcess.all_started.pop()
        process.kill()
        process.wait()


def test_there_are_at_least_twenty_of_each() -> None:
    assert min(len(GOOD), len(BAD)) >= 20
    assert all(kind.__doc__ for kind in [*GOOD.values(), *(kind for kind, _ in BAD.values())])


@pytest.mark.parametrize("name", SPECIAL)
def test_a_good_mixer_of_a_kind_that_was_refused_fails_nothing(name: str) -> None:
    records = check_mixer(GOOD[name], only=REFUSING)
    assert [record for record in records if record.status in ANSWERS] == []


@pytest.mark.parametrize("name", BAD)
def test_a_bad_mixer_is_answered_by_the_check_of_its_fault(name: str) -> None:
    kind, checks = BAD[name]
    records = check_mixer(kind, only=checks[:1])
    assert records[0].status in ANSWERS, records
    assert (records[0].status is Status.WARNING) == (records[0].check == "resources")


@pytest.mark.slow
@pytest.mark.parametrize("name", GOOD)
def test_a_good_mixer_fails_no_check_at_all(name: str) -> None:
    records = check_mixer(GOOD[name])
    assert [record for record in records if record.status in ANSWERS] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", BAD)
def test_what_a_bad_mixer_breaks_is_left_as_it_was_for_the_next(name: str) -> None:
    check_mixer(BAD[name][0])
    records = check_mixer(GOOD["PoolingMinusInput"], only=["side_effects", "shapes", "options"])
    assert {record.status for record in records} == {Status.PASSED}

"""Which blocks say something of the model, and when a device has drifted."""

from __future__ import annotations

import random

import pytest

from search.hardware.cpu import CpuTimes
from search.throughput.sensors import Reading
from search.throughput.timing import Block
from search.throughput.validity import block_problem, drift, sample_problem


def block(before: Reading, after: Reading, wall: float = 1.0) -> Block:
    return Block(1, wall, wall, None, before, after)


def times(busy: float, own: float, stolen: float = 0.0, throttled: float = 0.0) -> CpuTimes:
    return CpuTimes(busy=busy, stolen=stolen, own=own, throttled=throttled)


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        (Reading(), Reading(), None),
        (Reading(busy_seconds=1.0), Reading(busy_seconds=1.95), None),
        (Reading(busy_seconds=1.0), Reading(busy_seconds=1.8), "others had the processor"),
        (Reading(foreign=("x (7)",)), Reading(), "others compute on the device: x (7)"),
        (Reading(), Reading(throttled=("hot",)), "the device is throttled: hot"),
    ],
)
def test_a_block_counts_where_nobody_was_in_the_way(
    before: Reading, after: Reading, problem: str | None
) -> None:
    assert block_problem(block(before, after)) == problem


@pytest.mark.parametrize(
    ("threads", "cpus", "after", "problem"),
    [
        (2, 2, times(2.05, 2.0), None),
        (2, 2, times(2.0, 1.3), "others computed on the CPUs that this process needs"),
        (1, 2, times(2.0, 1.0), None),  # the other CPU is free for others
        (4, 8, times(6.0, 4.0), None),
        (8, 8, times(8.0, 7.0), "others computed on the CPUs that this process needs"),
        (1, 1, times(1.0, 1.0, stolen=0.3), "the hypervisor gave the CPU to other machines"),
        (1, 1, times(1.0, 1.0, throttled=0.3), "the container's quota held the process back"),
    ],
)
def test_a_sample_counts_where_there_were_cpus_for_all(
    threads: int, cpus: int, after: CpuTimes, problem: str | None
) -> None:
    begun = Reading(cpu=times(0.0, 0.0), cpus=cpus, threads=threads)
    ended = Reading(cpu=after, cpus=cpus, threads=threads)
    assert sample_problem([block(begun, ended)]) == problem
    assert sample_problem([block(begun, ended, wall=0.1)]) is None  # too short to tell


def test_what_others_did_between_the_blocks_of_a_sample_is_not_in_it() -> None:
    def reading(busy: float, own: float, stolen: float, throttled: float) -> Reading:
        return Reading(cpu=times(busy, own, stolen, throttled), cpus=1, threads=1)

    alone = block(reading(0, 0, 0, 0), reading(1, 1, 0, 0))
    later = block(reading(5, 2, 1, 1), reading(6, 3, 1, 1))
    assert sample_problem([alone, later]) is None
    assert sample_problem([alone, block(reading(5, 2, 1, 1), reading(6, 2.5, 1, 1))]) is not None


def test_what_cannot_be_read_is_no_problem() -> None:
    assert sample_problem([block(Reading(), Reading())]) is None
    unread = Reading(cpu=CpuTimes(busy=None, stolen=None, own=0.0, throttled=None), cpus=1)
    assert sample_problem([block(unread, unread)]) is None


def test_a_shift_of_the_reference_counts_where_it_is_sure_and_above_one_percent() -> None:
    generator = random.Random(0)

    def sample(mean: float, noise: float) -> list[float]:
        return [mean * generator.lognormvariate(0, noise) for _ in range(7)]

    assert drift(sample(1.0, 0.001), sample(1.005, 0.001)) == 0
    assert drift(sample(1.0, 0.001), sample(1.02, 0.001)) == pytest.approx(0.02, abs=0.003)
    assert drift(sample(1.0, 0.001), sample(0.98, 0.001)) == pytest.approx(0.02, abs=0.003)
    assert drift(sample(1.0, 0.05), sample(1.02, 0.05)) == 0
    false_alarms = sum(drift(sample(1.0, 0.02), sample(1.0, 0.02)) > 0 for _ in range(1000))
    assert false_alarms <= 5

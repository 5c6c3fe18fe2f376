from __future__ import annotations

from pathlib import Path

import pytest

from search.throughput.cgroup import cpu_quota, throttled_seconds


def put(root: Path, name: str, text: str) -> None:
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_the_tightest_quota_on_the_way_to_the_root_holds(tmp_path: Path) -> None:
    put(tmp_path, "proc/self/cgroup", "0::/user/job\n")
    put(tmp_path, "sys/fs/cgroup/user/job/cpu.max", "max 100000\n")
    put(tmp_path, "sys/fs/cgroup/user/cpu.max", "150000 100000\n")
    put(tmp_path, "sys/fs/cgroup/user/job/cpu.stat", "usage_usec 5\nthrottled_usec 2500000\n")
    assert cpu_quota(tmp_path) == 1.5
    assert throttled_seconds(tmp_path) == 2.5


def test_in_a_container_the_root_is_what_there_is(tmp_path: Path) -> None:
    put(tmp_path, "proc/self/cgroup", "0::/../of/the/host\n")
    put(tmp_path, "sys/fs/cgroup/cpu.max", "50000 100000\n")
    assert cpu_quota(tmp_path) == 0.5


@pytest.mark.parametrize("controllers", ["cpu", "cpu,cpuacct"])
def test_version_1_is_read_too(tmp_path: Path, controllers: str) -> None:
    put(tmp_path, "proc/self/cgroup", f"5:memory:/m\n4:{controllers}:/docker/x\n0::/\n")
    folder = f"sys/fs/cgroup/{controllers}/docker/x"
    put(tmp_path, f"{folder}/cpu.cfs_quota_us", "200000\n")
    put(tmp_path, f"{folder}/cpu.cfs_period_us", "100000\n")
    put(tmp_path, f"{folder}/cpu.stat", "nr_throttled 3\nthrottled_time 1500000000\n")
    assert cpu_quota(tmp_path) == 2
    assert throttled_seconds(tmp_path) == 1.5


@pytest.mark.parametrize("text", ["max 100000", "", "-1", "100000", "100000 0", "many 100000"])
def test_no_quota_and_none_that_can_be_read_is_none(tmp_path: Path, text: str) -> None:
    put(tmp_path, "sys/fs/cgroup/cpu.max", text)
    put(tmp_path, "sys/fs/cgroup/cpu.stat", "throttled_usec\nx y\n")
    assert cpu_quota(tmp_path) is None
    assert throttled_seconds(tmp_path) is None
    assert cpu_quota(tmp_path / "nothing") is None

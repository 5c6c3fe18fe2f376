from __future__ import annotations

from pathlib import Path

import pytest

from search.hardware.cgroup import cpu_quota, memory_limit, throttled_seconds


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


def test_the_memory_limit_is_that_of_the_own_group_and_those_above_it(tmp_path: Path) -> None:
    put(tmp_path, "proc/self/cgroup", "0::/user.slice/job/step\n")
    put(tmp_path, "sys/fs/cgroup/memory.max", "8000")
    put(tmp_path, "sys/fs/cgroup/user.slice/memory.max", "max")
    put(tmp_path, "sys/fs/cgroup/user.slice/job/memory.max", "3000")
    put(tmp_path, "sys/fs/cgroup/user.slice/job/step/memory.max", "4000")
    put(tmp_path, "sys/fs/cgroup/other/memory.max", "1000")
    assert memory_limit(tmp_path) == 3000


def test_the_memory_limit_of_version_1_is_read_too(tmp_path: Path) -> None:
    put(tmp_path, "proc/self/cgroup", "4:memory:/docker/x\n3:cpu:/y\n0::/\n")
    unlimited = "9223372036854771712"
    put(tmp_path, "sys/fs/cgroup/memory/memory.limit_in_bytes", unlimited)
    put(tmp_path, "sys/fs/cgroup/memory/docker/memory.limit_in_bytes", "6000")
    put(tmp_path, "sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes", unlimited)
    put(tmp_path, "sys/fs/cgroup/memory/y/memory.limit_in_bytes", "1000")
    assert memory_limit(tmp_path) == 6000
    stat = f"cache 1\nhierarchical_memory_limit 5000\ntotal_cache {unlimited}\n"
    put(tmp_path, "sys/fs/cgroup/memory/docker/x/memory.stat", stat)
    assert memory_limit(tmp_path) == 5000


MOUNTS = """\
22 1 0:20 / /proc rw - proc proc rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
35 31 0:32 {mounted} {point} rw,relatime master:3 - {system}
"""


@pytest.mark.parametrize(
    ("path", "mounted"),
    [
        ("/docker/x/inner", "/docker/x"),  # the container sees its own group as the root
        ("/inner", "/"),  # a namespace of its own
        ("/kubepods/pod1/c/inner", "/kubepods/pod1/c"),
    ],
)
@pytest.mark.parametrize("version", [1, 2])
def test_in_a_container_the_mount_says_which_group_is_where(
    tmp_path: Path, version: int, path: str, mounted: str
) -> None:
    line, system, name, point = {
        1: ("4:memory:", "cgroup cgroup rw,memory", "memory.limit_in_bytes", "/cg\\040v1/memory"),
        2: ("0::", "cgroup2 cgroup2 rw,nsdelegate", "memory.max", "/cg\\040v2"),
    }[version]
    put(tmp_path, "proc/self/cgroup", f"{line}{path}\n")
    mounts = MOUNTS.format(mounted=mounted, point=point, system=system)
    put(tmp_path, "proc/self/mountinfo", mounts)
    top = point.replace("\\040", " ").lstrip("/")
    put(tmp_path, f"{top}/{name}", "9000")
    put(tmp_path, f"{top}{path}/{name}", "1000")  # of another group, unless nothing is hidden
    put(tmp_path, f"{top}/inner/{name}", "2000")
    assert memory_limit(tmp_path) == 2000
    (tmp_path / f"{top}/inner/{name}").write_text("max")
    assert memory_limit(tmp_path) == 9000


@pytest.mark.parametrize("path", ["/../../host/y", "/../sibling", "/somewhere/else", ""])
def test_a_path_that_is_not_mounted_leaves_the_root_that_is(tmp_path: Path, path: str) -> None:
    put(tmp_path, "proc/self/cgroup", f"0::{path}\n")
    mounts = MOUNTS.format(mounted="/docker/x", point="/sys/fs/cgroup", system="cgroup2 c rw")
    put(tmp_path, "proc/self/mountinfo", mounts)
    put(tmp_path, "sys/fs/cgroup/memory.max", "7000")
    put(tmp_path, "sys/fs/memory.max", "1000")
    assert memory_limit(tmp_path) == 7000


@pytest.mark.parametrize("text", ["max", "", "-1", "a lot"])
def test_no_memory_limit_and_none_that_can_be_read_is_none(tmp_path: Path, text: str) -> None:
    put(tmp_path, "sys/fs/cgroup/memory.max", text)
    assert memory_limit(tmp_path) is None
    assert memory_limit(tmp_path / "nothing") is None

"""Limits of a container or a service, by cgroups of version 2 and 1: CPU quota and memory.

The groups that count are those of this process, from its own up to the root of the hierarchy.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path


def cpu_quota(root: Path = Path("/")) -> float | None:
    """The tightest quota that holds for this process, in CPUs; None if there is none."""
    quotas = []
    for folder in _folders(root, "cpu"):
        period: str | None
        quota, _, period = (_read(folder / "cpu.max") or "").partition(" ")
        if not quota:
            quota = _read(folder / "cpu.cfs_quota_us") or ""
            period = _read(folder / "cpu.cfs_period_us")
        if quota.isdigit() and period and period.isdigit() and int(period) > 0:
            quotas.append(int(quota) / int(period))
    return min(quotas, default=None)


def throttled_seconds(root: Path = Path("/")) -> float | None:
    """Seconds for which the quota has throttled this process's group so far; None if unknown."""
    for folder in _folders(root, "cpu"):
        lines = (line.split() for line in (_read(folder / "cpu.stat") or "").splitlines())
        counts = {line[0]: int(line[1]) for line in lines if len(line) == 2 and line[1].isdigit()}
        if "throttled_usec" in counts:
            return counts["throttled_usec"] / 1e6
        if "throttled_time" in counts:  # version 1, in nanoseconds
            return counts["throttled_time"] / 1e9
    return None


def memory_limit(root: Path = Path("/")) -> int | None:
    """The lowest limit in bytes that holds for this process; None if there is none."""
    limits = []
    for folder in _folders(root, "memory"):
        limits += [_read(folder / name) for name in ("memory.max", "memory.limit_in_bytes")]
        stat = _read(folder / "memory.stat") or ""  # version 1 counts groups out of sight too
        limits += re.findall(r"^hierarchical_memory_limit (\d+)$", stat, re.MULTILINE)
    return min((int(limit) for limit in limits if limit and limit.isdigit()), default=None)


def _folders(root: Path, controller: str) -> Iterator[Path]:
    """The groups of this process that `controller` limits, innermost first.

    A path in `/proc/self/cgroup` counts from the root of the hierarchy, of which a container may
    see a part only: `/proc/self/mountinfo` says which group is mounted where. Without a mount
    that holds the path, the usual mount points are tried and their roots are read.
    """
    for line in (_read(root / "proc/self/cgroup") or "0::/").splitlines():
        number, controllers, path = [*line.split(":", 2), "", ""][:3]
        if number != "0" and controller not in controllers.split(","):
            continue
        kind = "cgroup2" if number == "0" else "cgroup"
        mounts = list(_mounts(root, kind, controller))
        if not mounts:
            names = ["", "unified"] if number == "0" else [controllers, controller]
            mounts = [("/", root / "sys/fs/cgroup" / name) for name in names]
        for mounted, top in mounts:
            inside = os.path.relpath(path, mounted) if path.startswith("/") else "."
            if inside.startswith(".."):  # the path of the host, of which this is another part
                inside = "."
            group = top / inside
            yield group
            if group != top:
                yield from (folder for folder in group.parents if folder.is_relative_to(top))


def _mounts(root: Path, kind: str, controller: str) -> Iterator[tuple[str, Path]]:
    """The mounted group and the mount point of each mount of a hierarchy, by mountinfo."""
    for line in (_read(root / "proc/self/mountinfo") or "").splitlines():
        place, _, system = (part.split() for part in line.partition(" - "))
        if len(place) < 5 or len(system) < 3 or system[0] != kind:
            continue
        if kind == "cgroup2" or controller in system[2].split(","):
            point = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), place[4])
            yield place[3], root / point.lstrip("/")


def _read(file: Path) -> str | None:
    try:
        return file.read_text().strip()
    except OSError:
        return None

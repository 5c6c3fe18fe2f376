"""How much CPU a container or a service may use: the quota of cgroups, version 2 and 1."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def cpu_quota(root: Path = Path("/")) -> float | None:
    """The tightest quota that holds for this process, in CPUs; None where there is none."""
    quotas = []
    for folder in _folders(root):
        period: str | None
        quota, _, period = (_read(folder / "cpu.max") or "").partition(" ")
        if not quota:
            quota = _read(folder / "cpu.cfs_quota_us") or ""
            period = _read(folder / "cpu.cfs_period_us")
        if quota.isdigit() and period and period.isdigit() and int(period) > 0:
            quotas.append(int(quota) / int(period))
    return min(quotas, default=None)


def throttled_seconds(root: Path = Path("/")) -> float | None:
    """How long the quota has held this process's group back so far; None where it is not told."""
    for folder in _folders(root):
        lines = (line.split() for line in (_read(folder / "cpu.stat") or "").splitlines())
        counts = {line[0]: int(line[1]) for line in lines if len(line) == 2 and line[1].isdigit()}
        if "throttled_usec" in counts:
            return counts["throttled_usec"] / 1e6
        if "throttled_time" in counts:  # version 1, in nanoseconds
            return counts["throttled_time"] / 1e9
    return None


def _folders(root: Path) -> Iterator[Path]:
    """The groups of this process, innermost first, up to the root of each hierarchy.

    In a container the path may be that of the host, of which only the root is there.
    """
    for line in (_read(root / "proc/self/cgroup") or "0::/").splitlines():
        number, controllers, path = [*line.split(":", 2), "", ""][:3]
        if number == "0":
            mounts = ["", "unified"]
        elif "cpu" in controllers.split(","):
            mounts = [controllers, "cpu"]
        else:
            continue
        for mount in mounts:
            top = root / "sys/fs/cgroup" / mount
            group = top / path.lstrip("/")
            yield group
            if group != top:
                yield from (folder for folder in group.parents if folder.is_relative_to(top))


def _read(file: Path) -> str | None:
    try:
        return file.read_text().strip()
    except OSError:
        return None

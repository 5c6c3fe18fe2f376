"""Whether a search loses work when its processes are killed, its disk is full, it is begun twice.

    python benchmarks/faults.py --kills 50 --seed 0 --out FILE

A real study over 16 candidates that wait in its journal: once without faults, then (a) with
`kill -9` at random moments, of the study's process, of its worker, of what the worker has started;
as soon as a study ends the next begins, until all kills are spent; (b) on a disk that is full after
so many KiB, freed, and gone on with; (c) begun twice at once. Each must end with every candidate
counted once and the same results as without faults. Exit code 1 where anything does not hold.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from faults_study import PATIENCE, Run, violations
from provenance import provenance

from search.storage.trial_store import MAX_ABANDONED

VICTIMS = ("coordinator", "worker", "child of the worker")
MOST_DEATHS = 2  # of a candidate's own workers: a third is the candidate's failure, by design
MOST_STUDY_DEATHS = MAX_ABANDONED - 1  # with one candidate under way: it is given up, likewise
ROOMS = (8, 32, 64)  # KiB that a full disk leaves
SECONDS_LATER = {"anywhere": 10.0, "evaluation": 2.0, "record": 0.03}  # at the most
ENDING_SECONDS = 30.0


def main() -> None:
    arguments = parse_arguments()
    with tempfile.TemporaryDirectory(prefix="faults-") as place:
        faults = Faults(Path(place), arguments.seed, arguments.epochs)
        rows = [faults.without(), faults.kills(arguments.kills)]
        if not arguments.kills_only:
            rows += [faults.full_disk(room) for room in ROOMS] + [faults.twice()]
    for row in rows:
        print(f"{row['fault']:<34} {row['seconds']:7.1f} s  {row['what']}")
        for problem in row["violations"]:
            print(f"  VIOLATED: {problem}")
    if arguments.out is not None:
        result = {"provenance": provenance(), "seed": arguments.seed, "rows": rows}
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    sys.exit(any(row["violations"] for row in rows))


class Faults:
    """Runs in folders of their own in `place`, each held against the one without faults."""

    def __init__(self, place: Path, seed: int, epochs: int) -> None:
        self._place, self._epochs = place, epochs
        self._generator = random.Random(seed)
        self._begun = Run(place / "begun", epochs)
        self._begun.prepare()
        self._reference = self._fresh("reference")

    def _fresh(self, name: str) -> Run:
        """A copy of the study that has been begun and has tried nothing."""
        shutil.copytree(self._begun.place, self._place / name, dirs_exist_ok=True)
        return Run(self._place / name, self._epochs)

    def without(self) -> dict[str, Any]:
        begin = time.monotonic()
        problems = _finished(self._reference, self._reference)
        states = Counter(result[0] for result in self._reference.results().values())
        what = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
        return _row("none", begin, what, problems)

    def kills(self, number: int) -> dict[str, Any]:
        """Studies one after the other, until so many processes have been killed."""
        begin, struck, problems, rounds = time.monotonic(), Counter[str](), [], 0
        while rounds == 0 or struck.total() < number:
            rounds += 1
            problems += self._killed(self._fresh(f"kills-{rounds}"), number, struck)
        what = ", ".join(f"{count} {victim}" for victim, count in struck.items())
        what = f"{struck.total()} kills in {rounds} studies: {what}"
        return {**_row("kill -9", begin, what, problems), "kills": dict(struck), "studies": rounds}

    def _killed(self, run: Run, number: int, struck: Counter[str]) -> list[str]:
        """One study to its end, struck until `number` have been."""
        problems: list[str] = []
        workers: set[int] = set()
        while struck.total() < number:
            process = run.start()
            while process.poll() is None and struck.total() < number:
                self._wait(run, process)
                problems += run.look()
                workers |= set(_workers(process.pid))
                victim = self._victim(run, process)
                if victim is None:
                    continue
                with suppress(ProcessLookupError):
                    os.kill(victim[1], signal.SIGKILL)
                    struck[victim[0]] += 1
            process.wait(PATIENCE)
            if process.returncode == 0:
                break
            if process.returncode != -signal.SIGKILL:
                problems.append(f"exit code {process.returncode}:\n{run.log.read_text()}")
        problems += _finished(run, self._reference)
        return problems + _left_running(workers)

    def _wait(self, run: Run, process: subprocess.Popen[bytes]) -> None:
        """Until a random moment: anywhere, in an evaluation, or while a record is being written."""
        kind = self._generator.choice(tuple(SECONDS_LATER))
        more = SECONDS_LATER[kind] * self._generator.random()
        if kind != "anywhere":
            size = _size(run.folder.trials)
            while process.poll() is None and _size(run.folder.trials) <= size:
                time.sleep(0.002)
        with suppress(subprocess.TimeoutExpired):
            process.wait(more)

    def _victim(self, run: Run, process: subprocess.Popen[bytes]) -> tuple[str, int] | None:
        """Whom to kill now: its kind and pid; None where the run has ended, or all that could be
        killed has died as often with a candidate as the candidate is promised to survive."""
        kind = self._generator.choice(VICTIMS)
        if process.poll() is not None:
            return None
        workers = _workers(process.pid)
        too_often = max(run.lost_workers().values(), default=0) >= MOST_DEATHS
        if kind == "coordinator" or not workers or too_often:
            spared = run.lost_studies() >= MOST_STUDY_DEATHS
            return None if spared else ("coordinator", process.pid)
        children = [child for worker in workers for child in _children(worker)]
        if kind == "child of the worker" and children:
            return kind, self._generator.choice(children)
        return "worker", workers[0]

    def full_disk(self, room: int) -> dict[str, Any]:
        """The run ends for want of room, says so, and continues once there is some."""
        begin, run, problems = time.monotonic(), self._fresh(f"disk-{room}"), []
        with _small_disk(run.folder.path, room) as (how, preexec, free):
            process = run.start(preexec=preexec)
            code = process.wait(PATIENCE)
            words = run.log.read_text()
            if code != 4 or "Traceback" in words or words.count("error: ") != 1:
                problems.append(f"a full disk ends with exit code {code}:\n{words}")
            problems += run.look()
            kept = len(run.kept)
            free()
            problems += _finished(run, self._reference)
        what = f"{kept} candidates on record as it ended ({how})"
        return _row(f"full disk after {room} KiB", begin, what, problems)

    def twice(self) -> dict[str, Any]:
        begin, problems = time.monotonic(), []
        first, second = self._fresh("twice"), Run(self._place / "twice", self._epochs, starts=10)
        processes = [run.start() for run in (first, second)]
        codes = [process.wait(PATIENCE) for process in processes]
        refused = (first, second)[codes.index(max(codes))].log.read_text()
        if sorted(codes) != [0, 4] or refused.count("\n") != 1 or "another process" not in refused:
            problems.append(f"exit codes {codes}; the second says:\n{refused}")
        problems += violations(first, self._reference)
        return _row("begun twice at once", begin, f"exit codes {sorted(codes)}", problems)


def _finished(run: Run, reference: Run) -> list[str]:
    """Lets the study end undisturbed; what does not hold then."""
    code = run.start().wait(PATIENCE)
    if code != 0:
        return [f"exit code {code} without a fault:\n{run.log.read_text()}"]
    return violations(run, reference)


def _row(fault: str, begin: float, what: str, problems: list[str]) -> dict[str, Any]:
    seconds = round(time.monotonic() - begin, 1)
    return {"fault": fault, "what": what, "seconds": seconds, "violations": problems}


@contextmanager
def _small_disk(
    folder: Path, room: int
) -> Iterator[tuple[str, Callable[[], None] | None, Callable[[], None]]]:
    """A disk with room for so many KiB more: how it is made, what the process must do for it, and
    how it is freed. Where nothing may be mounted, no file may grow beyond that size."""
    if os.geteuid() != 0:
        limit = room * 1024

        def fill_up() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        yield "a limit on the size of files", fill_up, lambda: None
        return
    kept = folder.with_name("kept")
    folder.rename(kept)
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "none", str(folder)], check=True)
    try:
        shutil.copytree(kept, folder, dirs_exist_ok=True)
        ballast = folder / "ballast"
        free = os.statvfs(folder)
        with ballast.open("wb") as stream:
            stream.write(bytes(free.f_bavail * free.f_frsize - room * 1024))
        yield "tmpfs", None, ballast.unlink
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def _children(pid: int) -> list[int]:
    found = []
    for process in Path("/proc").iterdir():
        with suppress(OSError, ValueError, IndexError):
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == pid:
                found.append(int(process.name))
    return found


def _workers(coordinator: int) -> list[int]:
    return [child for child in _children(coordinator) if _is_worker(child)]


def _is_worker(pid: int) -> bool:
    """False for one that has ended and was not waited for: it has no command any more."""
    with suppress(OSError):
        return "search.workers.worker_main" in Path(f"/proc/{pid}/cmdline").read_text()
    return False


def _left_running(workers: set[int]) -> list[str]:
    """Workers that outlive their study."""
    deadline = time.monotonic() + ENDING_SECONDS
    while alive := [pid for pid in workers if _is_worker(pid)]:
        if time.monotonic() > deadline:
            return [f"processes {alive} are still there"]
        time.sleep(0.1)
    return []


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--epochs", type=int, default=6, help="of each training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kills-only", action="store_true", help="neither full disk nor twice")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()

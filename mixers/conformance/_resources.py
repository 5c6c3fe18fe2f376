"""Check of resources: threads, processes, files and memory that a mixer leaves behind."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from mixers.conformance._mixer_under_test import MixerUnderTest, run
from mixers.conformance._operator_watch import OperatorWatch
from mixers.conformance.records import Warned

_CALLS = 4


def check_resources(subject: MixerUnderTest) -> str:
    """No threads, processes or open files are left, and no call's tensors stay in memory.

    A warning, since a mixer may have reasons.
    """
    run(torch.nn.Conv2d(1, 1, 1), torch.zeros(1, 1, 2, 2))  # what torch opens once is not its own
    before = _Running()
    mixer = subject.build()
    kept: dict[str, int] = {}
    for training, words in ((True, "training"), (False, "evaluation")):
        mixer.train(training)
        kept[words] = _kept_of_each_call(mixer, subject)
    del mixer
    left = before.left_since()
    left += [
        f"{count} tensors of each call in {words} stay in memory"
        for words, count in kept.items()
        if count
    ]
    if left:
        raise Warned("; ".join(left))
    return ""


def _kept_of_each_call(mixer: torch.nn.Module, subject: MixerUnderTest) -> int:
    """Return how many storages of a call are alive after later calls.

    The first call may fill caches, and storages of the last may be held by attributes.
    """
    calls: list[_Storages] = []
    known = {StorageWeakRef(tensor.untyped_storage()) for tensor in _tensors_of(mixer)}
    for _ in range(_CALLS):
        with _Storages(known) as storages:
            images = subject.images().requires_grad_(mixer.training)
            output = run(mixer, images)
            if output.requires_grad:
                output.sum().backward()
                mixer.zero_grad()
            del images, output
        known |= storages.references
        calls.append(storages)
    if _fewest_alive(calls):
        gc.collect()  # slow, and seldom needed: what refers to itself is no one's
    return _fewest_alive(calls)


def _fewest_alive(calls: Sequence[_Storages]) -> int:
    """Of all calls but the first and the last."""
    return min(storages.alive() for storages in calls[1:-1])


def _tensors_of(mixer: torch.nn.Module) -> list[Tensor]:
    return [*mixer.parameters(), *mixer.buffers()]


class _Storages(OperatorWatch):
    """Weak references to the storages of all tensors that operators make, less the known ones."""

    def __init__(self, known: set[StorageWeakRef]) -> None:
        super().__init__()
        self.known = known
        self.references: set[StorageWeakRef] = set()

    def _add(self, tensor: Tensor) -> None:
        reference = StorageWeakRef(tensor.untyped_storage())
        if reference not in self.known:
            self.references.add(reference)

    def alive(self) -> int:
        return sum(not reference.expired() for reference in self.references)

    def see(self, operator: Any, arguments: Sequence[Any], output: Any) -> None:
        for item in output if isinstance(output, tuple | list) else (output,):
            if isinstance(item, Tensor):
                self._add(item)


class _Running:
    """Python's threads, the child processes and the open files of this process."""

    def __init__(self) -> None:
        self.threads = set(threading.enumerate())
        self.processes = _child_processes()
        self.files = _open_files()

    def left_since(self) -> list[str]:
        if not self._more_than_before():
            return []
        gc.collect()  # files that nothing refers to are closed
        return [f"{count} {words} are left" for words, count in self._more_than_before().items()]

    def _more_than_before(self) -> dict[str, int]:
        now = _Running()
        found = {
            "threads": len(now.threads - self.threads),
            "child processes": len(now.processes - self.processes),
            "open files": len(now.files.items() - self.files.items()),
        }
        return {words: count for words, count in found.items() if count}


def _child_processes() -> set[int]:
    """Process ids of the children, on Linux only."""
    children: set[int] = set()
    for file in Path("/proc/self/task").glob("*/children"):
        with suppress(OSError):
            children.update(int(number) for number in file.read_text().split())
    return children


def _open_files() -> dict[int, str]:
    """Open descriptors and what they lead to, on Linux only; none elsewhere."""
    files = {}
    for link in Path("/proc/self/fd").glob("*"):
        with suppress(OSError):
            files[int(link.name)] = os.readlink(link)
    return {number: target for number, target in files.items() if not target.startswith("/proc/")}

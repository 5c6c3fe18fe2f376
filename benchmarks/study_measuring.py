"""Conditions of the study's rows measured here: rounds of the engine's blocks, in drawn order."""

from __future__ import annotations

import math
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
import torch._dynamo.config
from study_orders import ALPHA, all_comparisons, counts, headlines, published_speed
from study_tables import label

from mixers import load_registry
from search.evaluation.model_source import read_model_source
from search.hardware.cpu import affinity, foreign_seconds, read_times
from search.profiling.memory import release_memory
from search.throughput import (
    LeaseTimeout,
    MeasurementProtocol,
    SystemClock,
    device_lease,
    device_sensors,
)
from search.throughput.stopping import interval
from search.throughput.timing import Stopwatch
from search.throughput.validity import block_problem
from search.throughput.workload import make_step, precision_of

PROCESS, WALL = "process", "wall"
BLOCK_SECONDS = {"cpu": 0.2, "cuda": 0.05}
SETTLING_SECONDS = 0.25  # a shorter step runs once unmeasured after another model's
TRIES = 4  # of a block that does not count
MOST_ROUNDS = 2  # times those asked for, where blocks had to be discarded
FIRST_COMPILATION_SECONDS = 30.0  # expected before any is known
ROWS_ALIVE = 64  # compiled at once; they share code, and dynamo counts by code


@dataclass
class Row:
    """One model under one condition; `seconds` of a step by round, None where none counted.

    `contaminated_seconds` are of the last try in such a round. `first_seconds` is the first step's
    with the warm-up after it, compilation included.
    """

    name: str
    step: Callable[[], None]
    steps: int = 0
    step_seconds: float = math.nan
    first_seconds: float = math.nan
    seconds: list[float | None] = field(default_factory=list)
    contaminated_seconds: list[float] = field(default_factory=list)
    discarded: Counter[str] = field(default_factory=Counter)

    def visit(self, stopwatch: Stopwatch, clock: str) -> None:
        """One block that counts, or the note that there was none."""
        if self.settles:
            self.step()
        for _ in range(TRIES):
            block = stopwatch.block(self.step, self.steps)
            before, after = block.before.busy_seconds, block.after.busy_seconds
            if clock == PROCESS and before is not None and after is not None:
                block = replace(block, wall_seconds=after - before)
            problem = block_problem(block)
            seconds = float(f"{block.step_seconds:.6g}")
            if problem is None:
                self.seconds.append(seconds)
                return
            self.discarded[problem] += 1
        self.contaminated_seconds.append(seconds)
        self.seconds.append(None)

    @property
    def settles(self) -> bool:
        """Whether it runs once unmeasured after another model's step."""
        return self.step_seconds < SETTLING_SECONDS

    @property
    def valid(self) -> list[float]:
        return [seconds for seconds in self.seconds if seconds is not None]


class Study:
    """Measures conditions on one device until `deadline`, a reading of time.monotonic()."""

    def __init__(
        self, device: torch.device, deadline: float, rounds: int, clock: str = WALL
    ) -> None:
        self.device, self.deadline, self.rounds, self.clock = device, deadline, rounds, clock
        self.left_out: list[str] = []
        self._registry = load_registry()
        self._stopwatch = Stopwatch(SystemClock(), device_sensors(device))

    def measure(self, names: Iterable[str], protocol: MeasurementProtocol) -> dict[str, Any] | None:
        """One condition as data; None where time was up before two rows were warm."""
        begun, before = time.monotonic(), read_times(affinity())
        with precision_of(protocol, self.device), _many_compiled(protocol):
            try:
                rows = self._warm_rows(names, protocol)
                if len(rows) > 1:
                    self._rounds(rows, protocol)
            except LeaseTimeout:
                rows = []
        release_memory()
        for row in rows:
            if len(row.valid) < 2:
                why = dict(row.discarded) or "no time"
                self.left_out.append(f"{words_of(protocol)}: {row.name}, {why}")
        rows = [row for row in rows if len(row.valid) > 1]
        if len(rows) < 2:
            self.left_out.append(f"{words_of(protocol)}: the whole condition")
            return None
        wall = time.monotonic() - begun
        foreign = foreign_seconds(before, read_times(affinity()))
        result = _as_data(rows, protocol)
        result["clock"] = self.clock
        result["wall_seconds"] = round(wall, 1)
        result["foreign_cpus"] = None if foreign is None else round(foreign / wall, 2)
        return result

    def _warm_rows(self, names: Iterable[str], protocol: MeasurementProtocol) -> list[Row]:
        """All steps are made before any runs: making one drops what was compiled before."""
        rows = [row for name in names if (row := self._made(name, protocol)) is not None]
        warm, longest = [], FIRST_COMPILATION_SECONDS if protocol.compile else 0.0
        for row in rows:
            if self._left < longest + self._rounds_seconds(warm):
                self.left_out.append(f"{words_of(protocol)}: {row.name}, no time")
            elif self._warm_up(row, protocol):
                warm.append(row)
                longest = max(longest, row.first_seconds)
        return warm

    def _rounds_seconds(self, rows: list[Row]) -> float:
        """About how long the rounds of these rows will take, without blocks that do not count."""
        return self.rounds * sum(row.step_seconds * (row.steps + row.settles) for row in rows)

    def _made(self, name: str, protocol: MeasurementProtocol) -> Row | None:
        if self._left < 0:
            self.left_out.append(f"{words_of(protocol)}: {name}, no time")
            return None
        network = read_model_source(name, self._registry)
        model = network.build(protocol.image_size, self.device)
        return Row(name, make_step(model, protocol, self.device))

    def _warm_up(self, row: Row, protocol: MeasurementProtocol) -> bool:
        try:
            with self._leased():
                row.step_seconds, row.first_seconds = self._stopwatch.warm_up(row.step)
        except LeaseTimeout:
            raise
        except Exception as error:  # noqa: BLE001  # one row must not cost the others
            words = (str(error).strip().splitlines() or [""])[0]
            reason = f"{type(error).__name__}: {words}"
            self.left_out.append(f"{words_of(protocol)}: {row.name}, {reason}")
            return False
        block_seconds = BLOCK_SECONDS[self.device.type]
        row.steps = max(1, math.ceil(block_seconds / max(row.step_seconds, 1e-6)))
        return True

    def _rounds(self, rows: list[Row], protocol: MeasurementProtocol) -> None:
        fixed: AbstractContextManager[object] = nullcontext()
        if protocol.compile:  # a step that had to be compiled again would be another one
            fixed = torch.compiler.set_stance("fail_on_recompile")
        with fixed:
            for number in range(MOST_ROUNDS * self.rounds):
                enough = all(len(row.valid) >= self.rounds for row in rows)
                if enough or self._left < 0:
                    return
                with self._leased():
                    for row in random.Random(number).sample(rows, len(rows)):
                        row.visit(self._stopwatch, self.clock)

    def _leased(self) -> AbstractContextManager[object]:
        return device_lease(self.device, wait_seconds=max(1.0, self._left))

    @property
    def _left(self) -> float:
        return self.deadline - time.monotonic()


@contextmanager
def _many_compiled(protocol: MeasurementProtocol) -> Iterator[None]:
    """Rows of one skeleton share code: more of them than dynamo allows would run eager, unsaid."""
    if not protocol.compile:
        yield
        return
    with torch._dynamo.config.patch(recompile_limit=ROWS_ALIVE, fail_on_recompile_limit_hit=True):
        yield


def words_of(protocol: MeasurementProtocol) -> str:
    return label(asdict(protocol))


def _as_data(rows: list[Row], protocol: MeasurementProtocol) -> dict[str, Any]:
    seconds = {row.name: row.seconds for row in rows}
    comparisons = all_comparisons(protocol.mode, seconds)
    told = ("mode", "memory_format", "compile", "batch_size", "image_size", "precision")
    return {
        **{key: getattr(protocol, key) for key in told},
        "rows": [_row_as_data(row, protocol) for row in rows],
        "orders": counts(comparisons),
        "headlines": [rounded(asdict(c)) for c in headlines(protocol.mode, seconds)],
        "reversed": [rounded(asdict(c)) for c in comparisons if c.order == "reversed"],
    }


def _row_as_data(row: Row, protocol: MeasurementProtocol) -> dict[str, Any]:
    centre, low, high = (protocol.batch_size / s for s in interval(row.valid, ALPHA))
    figures = {"images_per_second": centre, "low": high, "high": low}
    return {
        "name": row.name,
        "published": published_speed(row.name, protocol.mode),
        **{key: float(f"{value:.4g}") for key, value in figures.items()},
        "rounds": len(row.valid),
        "steps_per_block": row.steps,
        "first_seconds": round(row.first_seconds, 2),
        "discarded": dict(row.discarded),
        "block_seconds": row.seconds,
        "contaminated_seconds": row.contaminated_seconds,
    }


def rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: rounded(part) for key, part in value.items()}
    return round(value, 4) if isinstance(value, float) else value

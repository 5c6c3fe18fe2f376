"""Progress of a running study: a live display on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from search.cli.output import echo, plain
from search.formatting import interval, speed
from search.storage.records import BaselineRecord, Record, TrialRecord


def describe(record: Record) -> str:
    """One finished trial or baseline in a line."""
    parts = [record.title, record.state.value]
    parts += [
        f"{m['mode']} {speed(m)} {interval(m)}"
        for m in record.measurements[-1:]
        if m["images_per_second"] is not None and record.state.value == "COMPLETE"
    ]
    if record.accuracy is not None:
        parts.append(f"accuracy {record.accuracy:.4f}")
    if record.reason:
        parts.append(record.reason.splitlines()[0])
    return "  ".join(parts)


def describe_best(best: TrialRecord | None) -> str:
    return "none yet" if best is None else f"trial {best.number}, accuracy {best.accuracy:.4f}"


class PlainObserver:
    """One line an event to the standard error, for logs of jobs."""

    def note(self, text: str) -> None:
        echo(text, err=True)

    def trial_started(self, number: int, done: int, total: int) -> None:
        echo(f"[{done + 1}/{total}] trial {number}", err=True)

    def phase(self, text: str, number: int | None = None) -> None:
        pass

    def trial_finished(self, record: TrialRecord, best: TrialRecord | None) -> None:
        echo(f"  {describe(record)}  best: {describe_best(best)}", err=True)

    def baseline_finished(self, record: BaselineRecord) -> None:
        echo(f"  {describe(record)}", err=True)


class LiveObserver:
    """Kept up to date: what is done, best so far, time left; if several candidates are under
    way, a line for each below."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, refresh_per_second=4, transient=True)
        self._start = time.monotonic()
        self._done = self._done_before = self._total = 0
        self._under_way: dict[int, str] = {}  # by number, with the phase
        self._phase = ""
        self._best: TrialRecord | None = None

    def __enter__(self) -> LiveObserver:
        self._live.start()
        return self

    def __exit__(self, *_error: Any) -> None:
        self._live.stop()

    def note(self, text: str) -> None:
        self._live.console.print(plain(text), markup=False, highlight=False)

    def trial_started(self, number: int, done: int, total: int) -> None:
        if not self._total:
            self._done = self._done_before = done
        self._under_way[number], self._total = "", total
        self._show()

    def phase(self, text: str, number: int | None = None) -> None:
        self._phase = text
        if number in self._under_way:
            self._under_way[number] = text
        self._show()

    def trial_finished(self, record: TrialRecord, best: TrialRecord | None) -> None:
        self._best = best
        self._done += record.counts
        self._under_way.pop(record.number, None)
        self.note(describe(record))
        self._show()

    def baseline_finished(self, record: BaselineRecord) -> None:
        self.note(describe(record))

    def _show(self) -> None:
        several = len(self._under_way) > 1
        parts = [f"{self._done} of {self._total} done" if several else self._single()]
        parts.append(f"best: {describe_best(self._best)}")
        left = self._seconds_left()
        if left is not None:
            parts.append(f"about {left / 60:.1f} min left")
        lines = ["  ·  ".join(parts)]
        if several:
            lines += [f"  trial {number}  {what}" for number, what in self._under_way.items()]
        self._live.update(Text(plain("\n".join(lines))))

    def _single(self) -> str:
        """The one candidate that is under way, or what else is done."""
        what = next(iter(self._under_way.values()), self._phase)
        if not self._total:
            return what
        return f"[{min(self._done + 1, self._total)}/{self._total}] {what}"

    def _seconds_left(self) -> float | None:
        finished = self._done - self._done_before
        if finished < 1:
            return None
        return (time.monotonic() - self._start) / finished * (self._total - self._done)

"""Successive halving on epochs: all candidates train a little, the better ones are promoted.

Asynchronously (Li et al. 2020, A system for massively parallel hyperparameter tuning, algorithm 2,
arXiv 1810.05934): a candidate is promoted to the next rung as soon as it is among the best of those
that have come as far, one in `factor` of them; nobody waits for a rung to be full.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from search.storage.records import TrialRecord, TrialState

MAX_RUNGS = 3  # below a ninth of the epochs, at a factor of 3, a score says little of the last one


@dataclass(frozen=True)
class Promotion:
    """The candidate of `record` trains on until it has trained for `epochs`."""

    record: TrialRecord
    epochs: int


@dataclass(frozen=True)
class Halving:
    """Rungs up to `epochs`, each `factor` times as high as the one below."""

    epochs: int
    factor: int

    @property
    def rungs(self) -> tuple[int, ...]:
        """Epochs after which candidates are promoted; the last is `epochs` itself."""
        rungs = [self.epochs]
        while len(rungs) < MAX_RUNGS and rungs[0] // self.factor >= 1:
            rungs.insert(0, rungs[0] // self.factor)
        return tuple(rungs)

    @property
    def mean_epochs(self) -> float:
        """For how many epochs a candidate is trained in the mean, if one in `factor` of those
        that came to a rung is promoted from it."""
        steps = zip((0, *self.rungs), self.rungs, strict=False)
        return sum((above - below) / self.factor**n for n, (below, above) in enumerate(steps))

    def next_rung(self, epochs: int) -> int | None:
        """Return the epochs at which such a candidate pauses next; None at the last rung."""
        above = next(rung for rung in self.rungs if rung > epochs)
        return above if above < self.epochs else None

    def promotion(
        self, records: Sequence[TrialRecord], *, under_way: Collection[str] = (), last: bool = False
    ) -> Promotion | None:
        """Return the candidate to promote next, the highest rung first; None if there is none.

        `under_way` are the digests of candidates in training. With `last` no new candidate will
        come, and the best of each rung is promoted however few they are.
        """
        tried = [r for r in records if r.state.is_final and r.confirms is None]
        latest = {record.digest: record for record in tried if record.digest is not None}
        for rung, above in reversed(list(zip(self.rungs, self.rungs[1:], strict=False))):
            scores = {
                digest: score
                for digest, record in latest.items()
                if (score := score_after(record, rung)) is not None
            }
            number = max(len(scores) // self.factor, 1 if last else 0)
            best = sorted(scores, key=lambda digest: -scores[digest])[:number]
            for digest in best:
                waits = latest[digest].state is TrialState.PRUNED
                if waits and epochs_of(latest[digest]) == rung and digest not in under_way:
                    return Promotion(latest[digest], above)
        return None


def epochs_of(record: TrialRecord) -> int:
    """For how many epochs it was trained and scored."""
    return 0 if record.score is None else int(record.score["epochs"])


def score_after(record: TrialRecord, epochs: int) -> float | None:
    """The score that a candidate had after so many epochs; None if it did not come as far."""
    if record.score is None or epochs_of(record) < epochs:
        return None
    return float(record.score["by_epoch"][epochs - 1])

"""Networks that a study is compared with: measured and trained once, as its candidates are.

A baseline is trained whether it meets the budget or not. It is no trial: it never becomes the best,
does not count, and teaches the sampler nothing (docs/decisions/0016-baselines.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from mixers import MixerRegistry
from search.config.study import Study
from search.errors import UsageError
from search.evaluation.device_requirements import require_device_for_mixers
from search.evaluation.model_source import read_model_source
from search.storage.progress import Observer
from search.storage.record_reader import last_of_each, read_baselines
from search.storage.records import BaselineRecord, TrialState
from search.storage.run_folder import RunFolder
from search.storage.trial_store import MAX_ATTEMPTS
from search.workers.interface import Executor


@dataclass
class Baselines:
    """The baselines of one study, kept in its folder's `baselines.jsonl`. `check` is called between
    them and may raise to stop."""

    folder: RunFolder
    names: Sequence[str]
    observer: Observer
    check: Callable[[], None]

    def __post_init__(self) -> None:
        """EnvironmentProblem if the file is damaged."""
        self._records = read_baselines(self.folder.path)

    @property
    def records(self) -> list[BaselineRecord]:
        """Last record of each baseline."""
        return last_of_each(self._records)

    def require_known(self, registry: MixerRegistry, device: torch.device) -> None:
        """UsageError or SpecError if one that is yet to be evaluated names no network,
        EnvironmentProblem if one of its mixers requires another device."""
        for name in self._left():
            try:
                spec = read_model_source(name, registry).spec
            except UsageError as error:
                raise UsageError(f"search.baselines: {error}") from None
            if spec is not None:
                names = {mixer.name for stage in spec.stages for mixer in stage.block_mixers}
                where = f"search.baselines: {name}"
                require_device_for_mixers(names, registry, device, where)

    def run(self, executor: Executor, may_begin: Callable[[], bool] = lambda: True) -> None:
        """Evaluates those that have not been, as long as another `may_begin`; what goes wrong with
        one ends up in its record.

        What `check` raises passes through: the one under way is tried again another time.
        """
        self.folder.write_baselines(self._records)  # without a last line that was torn
        for name in self._left():
            self.check()
            if not may_begin():
                return
            self.observer.note(f"baseline {name}: measured and trained as candidates are")
            self._evaluate(name, executor)

    def _left(self) -> list[str]:
        done = {record.name for record in self._records if record.state.is_final}
        return [name for name in self.names if name not in done]

    def _evaluate(self, name: str, executor: Executor) -> None:
        """Again if its process died, a bounded number of times."""
        for attempt in range(1, MAX_ATTEMPTS + 1):
            executor.submit(
                "evaluate_baseline", None, BaselineRecord(name=name, state=TrialState.FAILED)
            )
            record, _ = executor.next_answer()
            assert isinstance(record, BaselineRecord)
            if record.state is TrialState.LOST and attempt == MAX_ATTEMPTS:
                record.state = TrialState.FAILED
                record.reason += f", as {MAX_ATTEMPTS - 1} times before"
            self.folder.append_baseline(record)
            self._records.append(record)
            self.observer.baseline_finished(record)
            self.check()
            if record.state is not TrialState.LOST:
                return


def with_baselines_of(study: Study, old: dict[str, Any]) -> Study:
    """The study with the baselines that its study.yaml, `old`, has, before its own: what was asked
    for once stays."""
    search = study.config.search
    before = old.get("search", {}).get("baselines", [])
    names = tuple(dict.fromkeys([*before, *search.baselines]))
    config = study.config.model_copy(
        update={"search": search.model_copy(update={"baselines": names})}
    )
    return replace(study, config=config)

"""Filter of proposals: backbones that can be built and name no quarantined mixer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from metaformer.errors import Problem, SpecError
from metaformer.spec import BackboneSpec
from search.scheduling.quarantine import Evidence, QuarantinedMixer, is_fault, set_aside
from search.storage.records import DIVERGED, TrialRecord


@dataclass
class ProposalFilter:
    """`records` are the study's, and grow; `mixers` its own, frozen. `can_be_built` raises
    SpecError if not; `note` hears once of each mixer that is set aside."""

    records: Sequence[TrialRecord]
    mixers: Sequence[dict[str, Any]]
    can_be_built: Callable[[BackboneSpec], None]
    note: Callable[[str], None]
    _known: dict[str, QuarantinedMixer] = field(default_factory=dict, init=False)
    _seen: int = field(default=0, init=False)

    def __call__(self, spec: BackboneSpec) -> None:
        """SpecError if `spec` is not to be proposed."""
        found = self._set_aside()
        for index, stage in enumerate(spec.stages):
            for mixer in stage.block_mixers:
                if mixer.name in found:
                    words = str(found[mixer.name])
                    where = f"stages[{index}].mixer"
                    raise SpecError(Problem(where, words, mixer=mixer.name))
        self.can_be_built(spec)

    def explains(self, record: TrialRecord) -> bool:
        """Return whether a failure is a divergence if others have been trained, or of a mixer that
        is set aside, or may be of one that will be: then the study can continue without it. Where
        nothing has worked yet, no mixer may be to blame."""
        found = self._set_aside()
        if record.reason.startswith(DIVERGED):
            return any(other.score is not None for other in self.records)
        if not is_fault(record):
            return False
        names = {mixer["name"] for mixer in record.mixers}
        if names & found.keys():
            return True
        evidence = Evidence.of(self.records, self.mixers)
        return evidence.any_worked and bool(names & evidence.faults.keys())

    def _set_aside(self) -> dict[str, QuarantinedMixer]:
        if len(self.records) != self._seen:
            self._seen, before = len(self.records), self._known
            self._known = set_aside(self.records, self.mixers)
            for name in self._known.keys() - before.keys():
                self.note(str(self._known[name]))
            for name in before.keys() - self._known.keys():
                self.note(f"mixer {name} is no longer set aside: others explain its failures")
        return self._known

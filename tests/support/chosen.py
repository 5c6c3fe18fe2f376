"""The best of a finished study, as an export gets it."""

from __future__ import annotations

from pathlib import Path

from mixers import MixerRegistry
from search.export.selected_trial import Chosen, choose, record_to_export
from search.study.stored_study import open_past_study


def best_of(folder: Path, registry: MixerRegistry, trial: int | None = None) -> Chosen:
    past = open_past_study(folder, registry)
    return choose(
        past,
        record_to_export(past, trial),
        retrain=trial is not None,
        allow_drift=False,
        note=lambda _text: None,
    )


def snippet(card: Path) -> str:
    """The Python of a model card."""
    return card.read_text().partition("```python\n")[2].partition("```")[0]

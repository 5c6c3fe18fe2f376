"""Fingerprints of a study's mixers, trainer and data, and detection of drift."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from metaformer.spec import BackboneSpec
from mixers import MixerRegistry
from mixers.local import LOCAL_DISTRIBUTION
from search.config.differences import differences
from search.config.study import Study
from search.errors import EnvironmentProblem, UsageError
from search.training import TrainerEntry

Frozen: TypeAlias = tuple[dict[str, Any], ...]
_SHOWN = 20


def freeze(names: Iterable[str], registry: MixerRegistry) -> Frozen:
    """Return the fingerprint of each mixer: distribution, version, entry point, origin, options."""
    return tuple(registry[name].fingerprint() for name in sorted(names))


def mixer_origins(spec: BackboneSpec, registry: MixerRegistry) -> list[dict[str, str]]:
    """Return the origin of each mixer of `spec`: distribution, version, entry point, origin,
    files."""
    names = sorted({mixer.name for stage in spec.stages for mixer in stage.block_mixers})
    keys = ("name", "distribution", "version", "entry_point", "origin", "files")
    frozen = (registry[name].fingerprint() for name in names)
    return [{key: mixer[key] for key in keys if key in mixer} for mixer in frozen]


def require_unchanged(
    folder: Path, frozen: Frozen, registry: MixerRegistry, *, allow_drift: bool
) -> list[str]:
    """Return what has changed, a line each, if `allow_drift` lets the study continue with it.

    EnvironmentProblem if mixers have changed, or if the study cannot continue at all: one is
    gone, or its options are searched over other values than the study's sampler has learnt.
    """
    names = [str(mixer["name"]) for mixer in frozen]
    gone = [_why_gone(name, registry) for name in names if name not in registry.entries]
    if gone:
        raise EnvironmentProblem(_words(folder, gone, "install them again, or begin again"))
    changed, searched = [], []
    for mixer in frozen:
        now = registry[str(mixer["name"])].fingerprint()
        lines = differences(mixer, {key: now.get(key) for key in mixer}, str(mixer["name"]))
        changed += [line for line in lines if ".searched:" not in line]
        searched += [line for line in lines if ".searched:" in line]
    if searched:
        raise EnvironmentProblem(
            _words(folder, changed + searched, "restore what is searched, or begin again")
        )
    if changed and not allow_drift:
        way = "install them as they were, continue all the same with --allow-drift, or begin again"
        raise EnvironmentProblem(_words(folder, changed, way))
    return changed


def require_unchanged_trainer(
    folder: Path,
    frozen: dict[str, Any] | None,
    trainer: TrainerEntry | None,
    *,
    allow_drift: bool,
) -> list[str]:
    """Return what has changed about a third-party trainer, a line each, if `allow_drift` lets it.

    EnvironmentProblem else. A study that names another trainer is another study.
    """
    if frozen is None or trainer is None:
        return []
    now = trainer.fingerprint()
    changed = differences(frozen, {key: now.get(key) for key in frozen}, "trainer")
    if changed and not allow_drift:
        shown = "\n".join(f"  {line}" for line in changed)
        raise EnvironmentProblem(
            f"{folder}: the trainer of this study has changed since it began:\n{shown}\n"
            "install it as it was, continue all the same with --allow-drift, or begin again"
        )
    return changed


def require_same_data(study: Study, now: dict[str, object], folder: Path, way: str) -> list[str]:
    """Return notes on data that may be read otherwise than when the study began.

    Raises:
        UsageError: The data are not what they were; the message has the differences and `way`.
    """
    frozen, notes = study.frozen_data or now, []
    if "reading" in now and "reading" not in frozen:
        now = {key: value for key, value in now.items() if key != "reading"}
        notes.append(
            f"{folder} began before image files were read by stated rules: transparent, rotated "
            "and 32-bit images have other pixels now. With such images, begin a new study"
        )
    changes = differences(frozen, now, "data")
    if changes:
        lines = "\n".join(f"  {line}" for line in changes[:_SHOWN])
        raise UsageError(
            f"{study.config.train.data} has changed since {folder} began:\n{lines}\n{way}"
        )
    return notes


def _why_gone(name: str, registry: MixerRegistry) -> str:
    refused = registry.refused.get(name)
    if refused is not None:
        return f"{name}: {refused.state}: {refused.reason}"
    words = f"{name}: not installed"
    if name.startswith(f"{LOCAL_DISTRIBUTION}/"):
        words += "; --plugins names the plugins.toml that has it in [local]"
    return words


def _words(folder: Path, lines: Sequence[str], way: str) -> str:
    shown = "\n".join(f"  {line}" for line in lines[:_SHOWN])
    more = f"\n  and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
    return (
        f"{folder}: the mixers of this study have changed since it began:\n{shown}{more}\n"
        f"{way} with what the old study has tried: search fork {folder}"
    )

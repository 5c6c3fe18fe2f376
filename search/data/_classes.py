"""Checks of the classes in each part of a data set, without which its accuracy says nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from search.data._splits import Splits, labels_of
from search.errors import UsageError

_SHOWN = 5


def require_classes(data: Splits) -> Splits:
    """Return the data, with a note if the part that selects lacks classes of few images.

    Raises:
        UsageError: if there are fewer than two classes, a label has no class, train or the
            reported part lacks a class, or the part that selects holds fewer than two.
    """
    names = data.class_names
    parts = {"train": data.train, "validation": data.validation, "test": data.test}
    missing = {}
    for part, images in parts.items():
        present = set(labels_of(images))
        outside = sorted(present - set(range(len(names))))
        if outside:
            raise UsageError(
                f"data: {data.name}: label {outside[0]} in the {part} part; "
                f"allowed: 0 to {len(names) - 1}, one for each of {len(names)} classes"
            )
        missing[part] = [name for label, name in enumerate(names) if label not in present]
    if len(names) < 2:
        raise UsageError(
            f"data: {data.name} has one class, {', '.join(names)}; allowed: 2 or more: "
            "with one every model is right"
        )
    for part in ("train", "test"):
        if missing[part]:
            raise UsageError(
                f"data: {data.name}: the {_ROLES[part]} has no readable image of "
                f"{_listed(missing[part])}; allowed: images of all {len(names)} classes"
            )
    lacking = missing["validation"]
    if not lacking:
        return data
    if len(names) - len(lacking) < 2:
        raise UsageError(
            f"data: {data.name}: the {_ROLES['validation']} has images of "
            f"{len(names) - len(lacking)} of {len(names)} classes; allowed: 2 or more: "
            "with one every model is right"
        )
    note = (
        f"the {_ROLES['validation']} has no image of {_listed(lacking)}: "
        "too few of them in train; candidates are not selected by these classes"
    )
    return replace(data, notes=(*data.notes, note))


_ROLES = {
    "train": "part that teaches (train)",
    "validation": "part that selects (validation, or carved from train)",
    "test": "reported part (test, or validation if there is no test)",
}


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    plural = "es" if len(names) > 1 else ""
    return f"{len(names)} class{plural}: {', '.join(names[:_SHOWN])}{more}"

"""Images with labels in three splits: `train` teaches, `validation` selects, `test` is reported.

The split that selects never holds an image of the split that is reported.
"""

from __future__ import annotations

from search.data.digits import load_digits
from search.data.folder import load_folder
from search.data.splits import ImageSet, Splits
from search.data.timm_datasets import load_timm
from search.errors import UsageError

__all__ = ["FORMS", "ImageSet", "Splits", "load_data"]

FORMS = "digits, folder:PATH, timm:NAME or timm:NAME@ROOT"


def load_data(name: str, image_size: int) -> Splits:
    """The data set of that name, its images `image_size` pixels square.

    UsageError where the name has no such form, or the data are not as its form needs them.
    """
    kind, _, rest = name.partition(":")
    if name == "digits":
        return load_digits(image_size)
    if kind == "folder" and rest:
        return load_folder(rest, image_size)
    if kind == "timm" and rest:
        return load_timm(rest, image_size)
    raise UsageError(f"data: got {name!r}; allowed: {FORMS}")

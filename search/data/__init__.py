"""Images with labels in three splits: `train` teaches, `validation` selects, `test` is reported.

The split that selects never holds an image of the split that is reported. Importing this package
does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from search.data.source import FORMS, DataSource, read_source

if TYPE_CHECKING:
    from search.data._loading import load_data
    from search.data._splits import ImageSet, Splits, unreadable_words

__all__ = [
    "FORMS",
    "DataSource",
    "ImageSet",
    "Splits",
    "load_data",
    "read_source",
    "unreadable_words",
]

_LAZY = {
    "ImageSet": "_splits",
    "Splits": "_splits",
    "load_data": "_loading",
    "unreadable_words": "_splits",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)

"""From the name of a data set to its images."""

from __future__ import annotations

from search.data._classes import require_classes
from search.data._splits import Splits
from search.data.source import read_source
from search.errors import EnvironmentProblem, UsageError


def load_data(name: str, image_size: int) -> Splits:
    """The data set of that name, its images `image_size` pixels square.

    UsageError if there is no such data set, or the data are not as its form needs them;
    EnvironmentProblem if this user may not read them.
    """
    try:
        return require_classes(_load(name, image_size))
    except PermissionError as error:
        raise EnvironmentProblem(f"data: {error.filename or name}: permission denied") from error


def _load(name: str, image_size: int) -> Splits:
    try:
        source = read_source(name)
    except UsageError as error:
        raise UsageError(f"data: {error}") from None
    if source.kind == "digits":
        from search.data._digits import load_digits

        return load_digits(image_size)
    if source.kind == "folder":
        from search.data._image_folder import load_folder

        assert source.root is not None
        return load_folder(source.root, image_size)
    from search.data._timm_datasets import load_timm

    return load_timm(source, image_size)

"""Names of data sets: `digits`, `folder:PATH`, `timm:NAME` or `timm:NAME@ROOT`.

A name is judged here without torch or timm, so that a mistake is answered at once.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mixers.errors import did_you_mean, nearest_name, nearest_path
from search.errors import UsageError

FORMS = "digits, folder:PATH, timm:NAME or timm:NAME@ROOT"
DEFAULT_ROOT = Path("data")  # of timm's sets

# What timm.data.dataset_factory knows under torch/, and what torchvision then looks for in ROOT.
TORCH_SETS = {
    "cifar10": "cifar-10-batches-py",
    "cifar100": "cifar-100-python",
    "fashion_mnist": "FashionMNIST/raw",
    "folder": "class folders under train and validation",
    "image_folder": "class folders under train and validation",
    "imagenet": "train, val and meta.bin or the devkit's archive",
    "inat": "2021_train and 2021_valid",
    "inaturalist": "2021_train and 2021_valid",
    "kmnist": "KMNIST/raw",
    "mnist": "MNIST/raw",
    "places365": "categories_places365.txt and the folders of images",
    "qmnist": "QMNIST/raw",
}
_ONLY_ITERATED = ("hfids", "tfds", "wds")  # timm's, and no index to split and shuffle by
_OF_TIMM = f"folder, hfds/NAME, torch/NAME with one of {', '.join(TORCH_SETS)}"
_KINDS = ("digits", "folder", "timm")


@dataclass(frozen=True)
class DataSource:
    """A data set by its name, and the folder that holds it, from the root of the file system.

    `name` is timm's; `root` is None if a set of timm's lies in the default folder.
    """

    kind: Literal["digits", "folder", "timm"]
    name: str = ""
    root: Path | None = None

    def __str__(self) -> str:
        if self.kind == "digits":
            return "digits"
        if self.kind == "folder":
            return f"folder:{self.root}"
        return f"timm:{self.name}@{self.root}" if self.root else f"timm:{self.name}"

    @property
    def short_name(self) -> str:
        """The set's own name, without where it comes from."""
        if self.kind == "timm":
            return self.name.rpartition("/")[2]
        return self.root.name if self.root is not None else self.kind


def read_source(text: str) -> DataSource:
    """The data set that `text` names.

    UsageError if it has no such form, timm knows no such set, or its folder is not there;
    PermissionError if that cannot be seen.
    """
    kind, _, rest = text.partition(":")
    if text == "digits":
        return DataSource("digits")
    if kind == "folder" and rest:
        return DataSource("folder", root=_folder(text, "folder:", rest))
    if kind == "timm" and rest:
        return _timm_source(text, rest)
    raise UsageError(f"got {text!r}; allowed: {FORMS}{did_you_mean(_meant(text))}")


def is_folder(path: str | Path) -> bool:
    """Return whether a folder is there; PermissionError if that cannot be seen."""
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)
    except PermissionError:
        raise
    except (OSError, ValueError):  # not there, or no path that could be
        return False


def _timm_source(text: str, rest: str) -> DataSource:
    name, _, root = rest.partition("@")
    family, _, own = name.partition("/")
    family = family.lower() if own else name
    if family in _ONLY_ITERATED:
        words = f"sets of {family}/ can only be iterated; allowed of timm: {_OF_TIMM}"
        raise UsageError(f"got {text!r}; {words}")
    known = own.lower() in TORCH_SETS if family == "torch" else family == "hfds" or name == "folder"
    if not known:
        close = nearest_name((own or name).lower(), TORCH_SETS)
        meant = f"timm:torch/{close}{rest[len(name) :]}" if close else None
        words = f"timm knows no such set; allowed of timm: {_OF_TIMM}"
        raise UsageError(f"got {text!r}; {words}{did_you_mean(meant)}")
    if family == "hfds":  # its folder is a cache, which need not be there
        return DataSource("timm", name, _absolute(root) if root else None)
    if root:
        return DataSource("timm", name, _folder(text, f"timm:{name}@", root))
    if not is_folder(DEFAULT_ROOT):
        words = f"no folder {DEFAULT_ROOT} here to read it from; nothing is downloaded"
        raise UsageError(f"got {text!r}; {words}; allowed: timm:{name}@ROOT, where ROOT holds it")
    return DataSource("timm", name)


def _folder(text: str, form: str, path: str) -> Path:
    """The folder at `path`, which stands behind `form` in `text`."""
    folder = os.path.expanduser(path)
    if is_folder(folder):
        return _absolute(path)
    if os.path.exists(folder):
        raise UsageError(f"got {text!r}; {folder} is a file; allowed: a folder")
    close = nearest_path(folder, folder=True)
    words = f"no such folder: {folder}{did_you_mean(form + close if close else None)}"
    raise UsageError(f"got {text!r}; {words}")


def _absolute(path: str) -> Path:
    return Path(os.path.expanduser(path)).resolve()


def _meant(text: str) -> str | None:
    """The name of a data set that `text` may have been meant for."""
    kind, colon, rest = text.partition(":")
    if os.path.isdir(os.path.expanduser(text)):
        return f"folder:{text}"
    if text.startswith(("/", "./", "../", "~")):
        close = nearest_path(os.path.expanduser(text), folder=True)
        return f"folder:{close}" if close else None
    if colon:
        close = nearest_name(kind.lower(), _KINDS)
        if close == "digits":
            return close
        return f"{close}:{rest}" if close and rest else None
    name, at, root = text.partition("@")
    sets = {own: f"timm:torch/{own}" for own in TORCH_SETS if own not in ("folder", "image_folder")}
    sets |= {f"torch/{own}": form for own, form in sets.items()}
    close = nearest_name(name.lower(), ["digits", *sets])
    return f"{sets[close]}{at}{root}" if close in sets else close

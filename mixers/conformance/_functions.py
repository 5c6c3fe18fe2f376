"""The functions of torch, numpy, Python and all module classes, to see which were replaced."""

from __future__ import annotations

import builtins
import logging
import math
import os
import random
import time
import types
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

_MODULES = (
    torch,
    torch.nn,
    torch.nn.functional,
    torch.nn.init,
    torch.fft,
    torch.linalg,
    torch.autograd,
    torch.random,
    torch.cuda,
    np,
    np.random,
    builtins,
    logging,
    math,
    os,
    random,
    time,
    warnings,
)
_CLASSES = (torch.Tensor, torch.autograd.Function)  # in addition to nn.Module and all its kinds
_TORCH = Path(torch.__file__).parent
_KINDS = (staticmethod, classmethod, property)


@dataclass(frozen=True, slots=True)
class Functions:
    """By the module or class that owns them: each function's name and the function."""

    by_owner: dict[Any, dict[str, Any]]

    @classmethod
    def take(cls) -> Functions:
        return cls({owner: _functions_of(owner) for owner in (*_MODULES, *_CLASSES, *_kinds())})

    def changed(self) -> list[str]:
        """`the function torch.nn.functional.gelu` for each that is another one now, or gone."""
        replaced = [(owner, name) for owner, name, _ in self._replaced()]
        return [
            f"the function {_name(owner)}.{name}" for owner, name in [*replaced, *self._added()]
        ]

    def restore(self) -> None:
        for owner, name, before in list(self._replaced()):
            setattr(owner, name, before)
        for owner, name in list(self._added()):
            delattr(owner, name)

    def _added(self) -> Iterator[tuple[Any, str]]:
        """Functions that classes have gained; modules gain some when torch loads lazily."""
        for owner, before in self.by_owner.items():
            if isinstance(owner, type) and len(vars(owner)) > len(before):
                for name, value in vars(owner).items():
                    if name not in before and isinstance(value, types.FunctionType):
                        yield owner, name

    def _replaced(self) -> Iterator[tuple[Any, str, Any]]:
        for owner, before in self.by_owner.items():
            now = vars(owner)
            for name, function in before.items():
                found = now.get(name)
                if found is not function and not _is_torchs_wrapper(found, function):
                    yield owner, name, function


def _functions_of(owner: Any) -> dict[str, Any]:
    return {
        name: value
        for name, value in vars(owner).items()
        if callable(value) or isinstance(value, _KINDS)
    }


def _kinds() -> Iterator[type[nn.Module]]:
    """nn.Module and every class derived from it so far."""
    seen: set[type[nn.Module]] = set()
    pending: list[type[nn.Module]] = [nn.Module]
    while pending:
        kind = pending.pop()
        if kind not in seen:
            seen.add(kind)
            yield kind
            subclasses: Callable[..., list[type[nn.Module]]] = type.__subclasses__
            pending += subclasses(kind)


def _is_torchs_wrapper(found: Any, function: Any) -> bool:
    """Return whether torch itself has wrapped `function`, as Dynamo does at its import."""
    code = getattr(found, "__code__", None)
    if code is None or not Path(code.co_filename).is_relative_to(_TORCH):
        return False
    wrapped = (getattr(found, name, None) for name in ("__wrapped__", "_torchdynamo_orig_callable"))
    return any(inner is function for inner in wrapped)


def _name(owner: Any) -> str:
    if isinstance(owner, type):
        return f"{owner.__module__}.{owner.__qualname__}"
    return str(owner.__name__)

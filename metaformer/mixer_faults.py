"""Attribution of exceptions to mixers: a traceback becomes a `MixerFault` with its place."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from torch import Tensor, nn

from metaformer.backbone import Backbone
from metaformer.spec import BackboneSpec, mixer_path
from mixers import MixerEntry, MixerFault, MixerRegistry
from mixers.scan import OWN_DISTRIBUTION
from mixers.third_party_code import (
    author_line,
    definition_line,
    described,
    error_text,
    is_interrupt,
)


class WrongOutput(TypeError):
    """A mixer's forward returned something other than a map like its input."""


@dataclass(frozen=True)
class _Block:
    """One block's mixer, found in a traceback."""

    name: str
    path: str
    on_meta: bool


@contextmanager
def mixer_faults(
    registry: MixerRegistry,
    spec: BackboneSpec | None = None,
    *,
    leave: Callable[[BaseException], bool] = lambda _error: False,
) -> Iterator[None]:
    """Turn whatever a mixer's code raises in this context into a `MixerFault`.

    Args:
        registry: The registry that the mixers came from.
        spec: The backbone that is run; needed for code that torch calls without the module, such
            as the backward pass of a custom function.
        leave: Which exceptions pass through as they are.
    """
    try:
        yield
    except BaseException as error:  # a mixer may raise SystemExit, and it is no success
        fault = None if leave(error) else mixer_at_fault(error, registry, spec)
        if fault is None:
            raise
        raise fault from error


def mixer_at_fault(
    error: BaseException, registry: MixerRegistry, spec: BackboneSpec | None = None
) -> MixerFault | None:
    """The mixer whose code raised `error`; None if it was no mixer's code, or it is not certain.

    A mixer is at fault if the exception passed through a call of its module, else if it passed
    through a file of its distribution that no other mixer of `spec` has.
    """
    if is_interrupt(error) or isinstance(error, MixerFault):
        return None
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    block = _block_in(frames)
    if block is None:
        block = _by_file(frames, registry, spec) if spec is not None else None
    if block is None:
        return None
    entry = registry[block.name]
    where = "" if author_line(error) else f", in the class at {definition_line(entry.mixer_class)}"
    needs_values = block.on_meta and "meta" in error_text(error)  # torch's words for both
    what = " cannot be run on the meta device, on which networks are counted" * needs_values
    message = f"{entry.label}{what}: {described(error)}{where}"
    return MixerFault(entry.name, message, path=block.path)


def _block_in(frames: list[FrameType]) -> _Block | None:
    """The innermost mixer whose module was being called."""
    blocks: dict[int, _Block] = {}
    found = None
    for frame in frames:
        values = frame.f_locals
        for value in list(values.values()):
            if issubclass(type(value), Backbone):  # never asks the value itself
                blocks |= _blocks_of(value)
        found = blocks.get(id(values.get("self")), found)
    return found


def _blocks_of(model: Backbone) -> dict[int, _Block]:
    """The mixers of a backbone by the identity of their modules."""
    on_meta = any(parameter.is_meta for parameter in model.parameters())
    found = {}
    for index, (stage, spec) in enumerate(zip(model.stages, model.spec.stages, strict=False)):
        for number, block in enumerate(stage.blocks):  # type: ignore[arg-type]  # is a Sequential
            place = number % len(spec.mixer)
            path = mixer_path(index, place, spec)
            found[id(block.mixer)] = _Block(spec.mixer[place].name, path, on_meta)
    return found


def _by_file(frames: list[FrameType], registry: MixerRegistry, spec: BackboneSpec) -> _Block | None:
    """The one mixer of `spec` to whose distribution a file in the traceback belongs."""
    uses = {
        registry[mixer.name].name: mixer_path(index, place, stage)
        for index, stage in reversed(list(enumerate(spec.stages)))
        for place, mixer in reversed(list(enumerate(stage.mixer)))
    }
    for frame in reversed(frames):
        file = Path(frame.f_code.co_filename)
        named = [name for name in uses if _defines(registry[name], frame, file)]
        owners = named or [name for name in uses if _owns(registry[name], file)]
        if len(owners) == 1:
            return _Block(owners[0], uses[owners[0]], on_meta=False)
    return None


def _defines(entry: MixerEntry, frame: FrameType, file: Path) -> bool:
    """Return whether the code of the frame stands in the mixer's class."""
    inside = frame.f_code.co_qualname.startswith(f"{entry.mixer_class.__qualname__}.")
    return inside and file == _file_of(entry.mixer_class.__module__)


def _owns(entry: MixerEntry, file: Path) -> bool:
    """Return whether a file is that of the mixer's class, or lies in its distribution's package."""
    module = entry.mixer_class.__module__
    if file == _file_of(module):
        return True
    package = sys.modules.get(module.partition(".")[0])
    folders = getattr(package, "__path__", ()) if entry.distribution != OWN_DISTRIBUTION else ()
    return any(file.is_relative_to(folder) for folder in folders)


def _file_of(module: str) -> Path | None:
    file = getattr(sys.modules.get(module), "__file__", None)
    return None if file is None else Path(file)


@contextmanager
def checked_outputs(model: nn.Module) -> Iterator[None]:
    """Have each mixer of a backbone raise `WrongOutput` unless it returns a map like its input."""
    stages = model.stages if isinstance(model, Backbone) else ()
    handles = [
        block.mixer.register_forward_hook(_check_output)
        for stage in stages
        for block in stage.blocks  # type: ignore[union-attr]  # of a Stage
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _check_output(_mixer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
    (x,) = inputs
    if not isinstance(output, Tensor):
        raise WrongOutput(f"forward returns {type(output).__name__}; allowed: a tensor")
    for name in ("shape", "dtype"):
        got, allowed = getattr(output, name), getattr(x, name)
        if got != allowed:
            got, allowed = (tuple(v) if name == "shape" else v for v in (got, allowed))
            words = f"forward returns a tensor of {name} {got} for one of {allowed}"
            raise WrongOutput(f"{words}; allowed: the same {name}")

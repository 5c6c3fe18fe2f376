"""YAML <-> BackboneSpec; every problem carries file, line, column and what is allowed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from metaformer.errors import FieldError, Problem, SpecError, format_path, parse_path
from metaformer.extends import find_spec_file, key_mark_of, mark_of, resolve_extends
from metaformer.spec import BackboneSpec
from metaformer.yaml_tree import Node, read_yaml, write_yaml
from mixers import (
    MixerError,
    MixerRegistry,
    MixerSpec,
    OptionError,
    UnknownMixerError,
    load_registry,
)
from mixers.errors import nearest

_SHAPES = {  # what pydantic would name by the classes of ours
    "model_type": "a map of keys and values",
    "model_attributes_type": "a map of keys and values",
    "tuple_type": "a list",
}
_SUGAR = ("extends", "every_stage", "downsample")  # keys that the fields do not show


def load_spec(source: str | Path, registry: MixerRegistry | None = None) -> BackboneSpec:
    """The backbone of a YAML file or of a zoo name, complete, its mixers' options stated.

    SpecError with file, line and column for all that is wrong, and where `source` is neither a
    file nor a zoo name.
    """
    return parse_spec(load_spec_tree(source), registry)


def load_spec_tree(source: str | Path) -> Node:
    """The resolved map of a YAML file or a zoo name, before it is validated."""
    file = find_spec_file(source)
    return resolve_extends(read_yaml(file), chain=(file.resolve(),))


def parse_spec(node: Node, registry: MixerRegistry | None = None) -> BackboneSpec:
    """The backbone of a resolved map; SpecError with all problems that it has."""
    registry = registry if registry is not None else load_registry()
    problems: list[Problem] = []
    data = node.plain()
    stages = node.map.get("stages")
    listed = stages.value if stages is not None and isinstance(stages.value, tuple) else ()
    for index, stage in enumerate(listed):
        mixer = stage.map.get("mixer")
        if mixer is not None:
            pattern = _read_pattern(mixer, ("stages", index, "mixer"), registry, problems)
            data["stages"][index]["mixer"] = pattern
    spec: BackboneSpec = validate_node(BackboneSpec, node, data, problems, sugar=_SUGAR)
    return spec


def place_problems(error: SpecError, source: str | Path) -> SpecError:
    """The same error, its problems placed in the file of `source` where they have no place yet."""
    node = load_spec_tree(source)
    return SpecError(
        [
            problem
            if problem.mark is not None
            else replace(problem, mark=mark_of(node, parse_path(problem.path)))
            for problem in error.problems
        ]
    )


def dump_spec(spec: BackboneSpec) -> str:
    """YAML text that `load_spec` reads back to an equal spec."""
    return write_yaml(spec.to_data())


def resolve_mixers(spec: BackboneSpec, registry: MixerRegistry) -> BackboneSpec:
    """The spec with canonical names and every option of every mixer stated.

    SpecError where a mixer is unknown or an option illegal.
    """
    stages = []
    for index, stage in enumerate(spec.stages):
        try:
            pattern = tuple(registry.resolve(mixer) for mixer in stage.mixer)
        except MixerError as error:
            raise SpecError(Problem(f"stages[{index}].mixer", str(error))) from error
        stages.append(stage.model_copy(update={"mixer": pattern}))
    return spec.model_copy(update={"stages": tuple(stages)})


def _read_pattern(
    node: Node, path: tuple[str | int, ...], registry: MixerRegistry, problems: list[Problem]
) -> tuple[MixerSpec, ...]:
    """The pattern of a stage; what is wrong is added to `problems`, and a stand-in returned."""
    if not isinstance(node.value, tuple):
        return (_read_mixer(node, path, registry, problems),)
    return tuple(
        _read_mixer(item, (*path, place), registry, problems)
        for place, item in enumerate(node.value)
    )


def _read_mixer(
    node: Node, path: tuple[str | int, ...], registry: MixerRegistry, problems: list[Problem]
) -> MixerSpec:
    stand_in = MixerSpec("identity")
    name, options = mixer_parts(node)
    if name is None:
        words = (
            f"got {shorten(node.plain())}; allowed: a mixer's name, or {{name: {{option: value}}}}"
        )
        problems.append(Problem(format_path(path), words, node.mark))
        return stand_in
    mark = node.key_marks.get(name, node.mark)
    name_shown = name or "''"
    try:
        return registry.resolve(MixerSpec.of(name, options.plain() if options else None))
    except OptionError as error:
        where = format_path((*path, error.option))
        own = options.key_marks.get(error.option, mark) if options else mark
        if options and not error.message.startswith("unknown option"):
            own = mark_of(options, (error.option,))
        problems.append(Problem(where, error.message, own))
    except MixerError as error:
        where = format_path(path)
        known = str(error)
        if isinstance(error, UnknownMixerError) and known.startswith("unknown mixer"):
            known = f"got {name_shown}; {known}"
        problems.append(Problem(where, known, mark))
    return stand_in


def mixer_parts(node: Node) -> tuple[str | None, Node | None]:
    """Name and options of a mixer as written; the name is None where it is neither form."""
    if isinstance(node.value, str):
        return node.value, None
    if isinstance(node.value, dict) and len(node.value) == 1:
        name, options = next(iter(node.value.items()))
        if options.value is None:
            return name, None
        scalars = all(not isinstance(item.value, dict | tuple) for item in options.map.values())
        if isinstance(options.value, dict) and scalars:
            return name, options
    return None, None


def validate_node(
    model: type[Any],
    node: Node,
    data: Any,
    problems: list[Problem],
    *,
    sugar: Sequence[str] = (),
) -> Any:
    """`data` as the pydantic `model`; SpecError with `problems` and pydantic's own, placed."""
    try:
        value = model.model_validate(data)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        problems += [
            _as_problem(item, model, node, sugar)
            for item in errors
            if not _follows_from_others(item, errors)
        ]
        raise SpecError(problems) from None
    if problems:
        raise SpecError(problems)
    return value


def _follows_from_others(item: Any, errors: Sequence[Any]) -> bool:
    """Whether a list only counts as too short because its own items are wrong."""
    path = item["loc"]
    return item["type"] == "too_short" and any(
        len(other["loc"]) > len(path) and other["loc"][: len(path)] == path for other in errors
    )


def _as_problem(item: Any, model: type[BaseModel], node: Node, sugar: Sequence[str]) -> Problem:
    path = tuple(item["loc"])
    kind, context, got = item["type"], item.get("ctx", {}), shorten(item["input"])
    where = format_path(path)
    if kind == "extra_forbidden":
        known = [*_fields_at(model, path[:-1]), *(sugar if len(path) == 1 else ())]
        words = f"unknown key; allowed: {', '.join(known)}{nearest(path[-1], known)}"
        return Problem(where, words, key_mark_of(node, path))
    if kind == "missing":
        return Problem(where, "missing", mark_of(node, path[:-1]))
    mark = mark_of(node, path)
    if kind == "literal_error":
        expected = context["expected"].replace("'", "").replace(" or ", ", ")
        close = nearest(item["input"], expected.split(", "))
        return Problem(where, f"got {got}; allowed: {expected}{close}", mark)
    if kind == "value_error":
        error = context["error"]
        path += error.path if isinstance(error, FieldError) else ()
        return Problem(format_path(path), str(error), mark_of(node, path))
    if kind in _SHAPES:
        return Problem(where, f"got {got}; allowed: {_SHAPES[kind]}", mark)
    if kind == "too_short" and not item["input"]:
        return Problem(where, "got an empty list; allowed: one item or more", mark)
    words = item["msg"].replace("Input should be", "allowed:").replace("a valid ", "")
    return Problem(where, f"got {got}; {words[0].lower()}{words[1:]}", mark)


def _fields_at(model: Any, path: tuple[Any, ...]) -> list[str]:
    """The keys that a map at `path` may hold."""
    for part in path:
        if isinstance(part, str) and part in model.model_fields:
            model = _model_in(model.model_fields[part].annotation) or model
    return [field.alias or name for name, field in model.model_fields.items()]


def _model_in(annotation: Any) -> Any:
    """The pydantic model inside an annotation such as `tuple[StageSpec, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_model_in(argument) for argument in get_args(annotation))
    return next((model for model in found if model is not None), None)


def shorten(value: Any) -> str:
    """A value for an error message, as YAML writes it and of at most 60 characters."""
    is_word = value is None or isinstance(value, bool)
    text = {None: "null", True: "true", False: "false"}[value] if is_word else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."

"""YAML <-> BackboneSpec; every problem carries file, line, column and what is allowed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from metaformer._spec_problems import ProblemReader
from metaformer.errors import Mark, Problem, SpecError, distinct, format_path, parse_path, shorten
from metaformer.extends import ZOO, find_spec_file, mark_of, resolve_extends
from metaformer.forms import refuse_forms
from metaformer.spec import BackboneSpec
from metaformer.yaml_tree import Node, read_yaml, write_yaml
from mixers import (
    MixerError,
    MixerFault,
    MixerRegistry,
    MixerSpec,
    OptionError,
    PluginError,
    PluginsFileError,
    SignatureError,
    UnknownMixerError,
    load_registry,
)

__all__ = [
    "dump_spec",
    "load_spec",
    "load_spec_tree",
    "parse_spec",
    "place_problems",
    "placed_fault",
    "placing",
    "resolve_mixers",
    "shorten",
    "split_mixer_node",
    "validate_node",
]  # fmt: skip
_STUDY_KEYS = ("budget", "measure", "train", "search", "space")
_SUGAR = ("extends", "every_stage", "downsample")  # keys that the fields do not show


def load_spec(source: str | Path, registry: MixerRegistry | None = None) -> BackboneSpec:
    """The backbone of a YAML file or of a zoo name, complete, its mixers' options stated.

    SpecError with file, line and column for all that is wrong, and if `source` is neither a
    file nor a zoo name; PluginError, placed alike, if a mixer that it names is broken.
    """
    tree = load_spec_tree(source)
    _refuse_study(tree)
    refuse_forms(tree)
    return parse_spec(tree, registry)


def _refuse_study(tree: Node) -> None:
    mark = next((tree.key_marks[key] for key in _STUDY_KEYS if key in tree.key_marks), None)
    if mark is not None and "stages" not in tree.map:
        words = "this is a study, and no backbone; give it to `search run`"
        raise SpecError(Problem("", words, mark))


def load_spec_tree(source: str | Path) -> Node:
    """The resolved map of a YAML file or a zoo name, before it is validated."""
    file = find_spec_file(source)
    return resolve_extends(read_yaml(file), chain=(file.resolve(),))


def parse_spec(
    node: Node, registry: MixerRegistry | None = None, *, forms: bool = False
) -> BackboneSpec:
    """The backbone of a resolved map; SpecError with all problems that it has.

    With `forms` it is one of a space, if a field may be written as a choice or a range.
    """
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
    spec: BackboneSpec = validate_node(
        BackboneSpec, node, data, problems, sugar=_SUGAR, forms=forms
    )
    return spec


@contextmanager
def placing(source: str | Path) -> Iterator[None]:
    """Give what is wrong with the backbone of `source` its line in that file, if it has none."""
    try:
        yield
    except SpecError as error:
        raise place_problems(error, source) from error.__cause__
    except MixerFault as fault:
        if not fault.path:
            raise
        mark = mark_of(load_spec_tree(source), parse_path(fault.path))
        raise placed_fault(fault, fault.path, mark) from fault.__cause__


def placed_fault(fault: MixerFault, path: str, mark: Mark | None) -> MixerFault:
    """The same fault, with its place in a spec and in a file."""
    shown = str(Problem(path, fault.message, mark))
    return MixerFault(fault.mixer, fault.message, path="" if mark else path, shown=shown)


def place_problems(error: SpecError, source: str | Path) -> SpecError:
    """The same error, its problems placed in the file of `source` if they have no place yet."""
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

    SpecError if a mixer is unknown or an option illegal, PluginError if a mixer is broken.
    """
    stages = []
    for index, stage in enumerate(spec.stages):
        where = f"stages[{index}].mixer"
        try:
            pattern = tuple(registry.resolve(mixer) for mixer in stage.mixer)
        except MixerFault as fault:
            raise MixerFault(fault.mixer, fault.message, path=where) from fault.__cause__
        except (PluginError, SignatureError) as error:  # the author's, not the spec's
            raise PluginError(str(Problem(where, str(error)))) from error
        except MixerError as error:
            raise SpecError(Problem(where, str(error))) from error
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
    name, options = split_mixer_node(node)
    if name is None:
        words = (
            f"got {shorten(node.plain())}; allowed: a mixer's name, or {{name: {{option: value}}}}"
        )
        problems.append(Problem(format_path(path), words, node.mark))
        return stand_in
    mark = node.key_marks.get(name, node.mark)
    name_shown = name or "''"
    mixer = MixerSpec.of(name, options.plain() if options else None)
    try:
        return registry.resolve(mixer, as_published=Path(node.mark.source).parent == ZOO)
    except MixerFault as fault:
        raise placed_fault(fault, format_path(path), mark) from fault.__cause__
    except (PluginError, SignatureError) as error:  # the author's, not the spec's
        raise PluginError(str(Problem(format_path(path), str(error), mark))) from error
    except PluginsFileError:
        raise
    except OptionError as error:
        for option, message in error.problems:
            own = options.key_marks.get(option, mark) if options else mark
            if options and not message.startswith("unknown option"):
                own = mark_of(options, (option,))
            problems.append(Problem(format_path((*path, option)), message, own))
    except MixerError as error:
        where = format_path(path)
        known = str(error)
        if isinstance(error, UnknownMixerError) and known.startswith("unknown mixer"):
            known = f"got {name_shown}; {known}"
        problems.append(Problem(where, known, mark))
    return stand_in


def split_mixer_node(node: Node) -> tuple[str | None, Node | None]:
    """Name and options of a mixer as written; the name is None if it is neither form."""
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
    forms: bool = False,
) -> Any:
    """`data` as the pydantic `model`; SpecError with `problems` and pydantic's own, placed.

    With `forms`, a field may hold a choice or a range, and a misspelt one is said to be that.
    """
    try:
        value = model.model_validate(data)
    except ValidationError as error:
        reader = ProblemReader(model, node, sugar=sugar, forms=forms)
        raise SpecError(distinct([*problems, *reader.problems(error)])) from None
    if problems:
        raise SpecError(distinct(problems))
    return value

"""`extends`, `every_stage` and `downsample`: what a spec takes over and says only once.

Maps merge. Lists replace; the stages of the new list take what they leave out from the stage
at the same place. A mixer replaces as a whole. `every_stage` is said of all stages of this
file and of the ones it extends; `downsample` of the place before each stage but the first.
(docs/decisions/0002-extends.md)
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from metaformer.errors import Mark, Problem, SpecError
from metaformer.yaml_tree import Node, read_yaml
from mixers.errors import nearest

ZOO = Path(__file__).parent / "zoo"
MAX_EXTENDS = 16
_WHOLE = ("mixer",)  # a map here is one value: a name with its options


def zoo_names() -> list[str]:
    """The names of the backbones that ship with the project."""
    return sorted(file.stem for file in ZOO.glob("*.yaml"))


def find_spec_file(source: str | Path, *, beside: Path | None = None) -> Path:
    """The file of a zoo name or of a path; SpecError where it is neither."""
    if str(source) in zoo_names():
        return ZOO / f"{source}.yaml"
    path = (beside / source) if beside is not None else Path(source)
    with suppress(OSError):  # a name that is too long for a file
        if path.is_file():
            return path
    names = zoo_names()
    words = f"neither a file nor a known backbone; known: {', '.join(names)}"
    raise SpecError(Problem(str(source), f"{words}{nearest(source, names)}"))


def resolve_extends(node: Node, *, chain: tuple[Path, ...] = ()) -> Node:
    """The whole map: its base's, overridden by its own, sugar applied; marks are kept."""
    if not isinstance(node.value, dict):
        raise SpecError(Problem("", "must be a map of keys and values", node.mark))
    own = dict(node.value)
    extends = own.pop("extends", None)
    base = _base(extends, chain) if extends is not None else None
    return _apply_downsample(_override(base, Node(own, node.mark, node.key_marks)))


def _base(extends: Node, chain: tuple[Path, ...]) -> Node:
    if not isinstance(extends.value, str):
        words = f"got {extends.plain()!r}; allowed: a known backbone or a path beside this file"
        raise SpecError(Problem("extends", words, extends.mark))
    try:
        beside = Path(extends.mark.source).parent
        file = find_spec_file(extends.value, beside=beside).resolve()
    except SpecError as error:
        raise SpecError(Problem("extends", str(error), extends.mark)) from None
    if file in chain or len(chain) >= MAX_EXTENDS:
        files = " -> ".join(path.name for path in (*chain, file))
        words = f"goes round in a circle or too deep ({files}); allowed: {MAX_EXTENDS} files"
        raise SpecError(Problem("extends", words, extends.mark))
    return resolve_extends(read_yaml(file), chain=(*chain, file))


def _override(base: Node | None, node: Node) -> Node:
    entries = dict(node.map)
    for key in ("every_stage", "downsample"):
        if key in entries and not isinstance(entries[key].value, dict):
            raise SpecError(Problem(key, "must be a map of keys and values", entries[key].mark))
    every_stage = entries.pop("every_stage", None)
    downsample = entries.get("downsample")
    merged = dict(base.map) if base is not None else {}
    if "stages" in merged:
        merged["stages"] = _say_of_all(merged["stages"], every_stage, downsample)
    if "stages" in entries:
        entries["stages"] = _stages(merged.pop("stages", None), entries["stages"], every_stage)
    for key, value in entries.items():
        merged[key] = merge(merged[key], value) if key in merged else value
    base_marks = base.key_marks if base is not None else {}
    return Node(merged, node.mark, {**base_marks, **node.key_marks})


def _say_of_all(stages: Node, every_stage: Node | None, downsample: Node | None) -> Node:
    """The base's stages, with what this file says of all of them."""
    if not isinstance(stages.value, tuple):
        return stages
    said = []
    for index, stage in enumerate(stages.value):
        if every_stage is not None:
            stage = merge(stage, every_stage)
        if downsample is not None and index > 0:
            own = stage.map.get("downsample", downsample)
            stage = _with_downsample(stage, merge(own, downsample))
        said.append(stage)
    return Node(tuple(said), stages.mark)


def _stages(old: Node | None, new: Node, every_stage: Node | None) -> Node:
    """The new list; each stage over the old one at its place, else over `every_stage`."""
    if not isinstance(new.value, tuple):
        return new
    before = old.value if old is not None and isinstance(old.value, tuple) else ()
    stages = []
    for index, stage in enumerate(new.value):
        under = before[index] if index < len(before) else every_stage
        stages.append(stage if under is None else merge(under, stage))
    return Node(tuple(stages), new.mark)


def merge(old: Node, new: Node) -> Node:
    """`new` over `old`: maps key by key, anything else as `new` has it."""
    if not isinstance(old.value, dict) or not isinstance(new.value, dict):
        return new
    entries = dict(old.value)
    for key, value in new.value.items():
        whole = key in _WHOLE or key not in entries
        entries[key] = value if whole else merge(entries[key], value)
    return Node(entries, new.mark, {**old.key_marks, **new.key_marks})


def _apply_downsample(node: Node) -> Node:
    """The top-level `downsample` under each stage's but the first's; null stays none at all."""
    entries = dict(node.map)
    downsample = entries.pop("downsample", None)
    stages = entries.get("stages")
    if downsample is not None and stages is not None and isinstance(stages.value, tuple):
        placed = [
            stage
            if index == 0 or not isinstance(stage.value, dict)
            else _with_downsample(stage, merge(downsample, stage.map.get("downsample", downsample)))
            for index, stage in enumerate(stages.value)
        ]
        entries["stages"] = Node(tuple(placed), stages.mark)
    return Node(entries, node.mark, node.key_marks)


def _with_downsample(stage: Node, downsample: Node) -> Node:
    return Node({**stage.map, "downsample": downsample}, stage.mark, stage.key_marks)


def mark_of(node: Node, path: tuple[str | int, ...]) -> Mark:
    """The place of the value at `path`, or of the nearest one around it."""
    for part in path:
        if isinstance(node.value, dict) and part in node.value:
            node = node.value[str(part)]
        elif isinstance(node.value, tuple) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
        else:
            break
    return node.mark


def key_mark_of(node: Node, path: tuple[str | int, ...]) -> Mark:
    """The place of the key that ends `path`, or of the nearest value around it."""
    for part in path[:-1]:
        if isinstance(node.value, dict) and part in node.value:
            node = node.value[str(part)]
        elif isinstance(node.value, tuple) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
    return node.key_marks.get(str(path[-1]), node.mark)

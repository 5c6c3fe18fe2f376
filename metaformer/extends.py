"""`extends`, `every_stage` and `downsample`: what a spec takes over and says only once.

Maps merge. Lists replace; the stages of the new list take what they leave out from the stage at
the same place. A mixer, a choice and a range replace as a whole. `every_stage` is said of all
stages of this file and of the ones it extends; `downsample` of the place before each stage but the
first. A head that becomes linear loses what belongs to an mlp head.
(docs/decisions/0002-extends.md)
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from metaformer.errors import Mark, Problem, SpecError
from metaformer.forms import FORMS, is_form
from metaformer.spec import OF_MLP_HEADS
from metaformer.yaml_tree import Node, read_yaml
from mixers.errors import nearest, nearest_name

ZOO = Path(__file__).parent / "zoo"
MAX_EXTENDS = 16
_YAML_ENDINGS = (".yaml", ".yml")
_WHOLE = ("mixer",)  # a map here is one value: a name with its options


def zoo_names() -> list[str]:
    """The names of the backbones that ship with the project."""
    return sorted(file.stem for file in ZOO.glob("*.yaml"))


def find_spec_file(source: str | Path, *, beside: Path | None = None) -> Path:
    """The file of a zoo name or of a path; SpecError if it is neither."""
    names = zoo_names()
    if str(source) in names:
        return ZOO / f"{source}.yaml"
    path = (beside / source) if beside is not None else Path(source)
    with suppress(OSError):  # a name that is too long for a file
        if path.is_file():
            return path
        if path.is_dir():
            words = "is a folder; allowed: a YAML file or a known backbone"
            raise SpecError(Problem(str(source), words))
    files = _yaml_files(path.parent)
    if len(Path(source).parts) > 1 or path.suffix in _YAML_ENDINGS:
        raise SpecError(Problem(str(source), f"no such file{_nearest_file(source, files)}"))
    words = "neither a file nor a known backbone (`search zoo` lists all)"
    close = nearest(source, [*names, *files], count=3)
    raise SpecError(Problem(str(source), f"{words}{close}"))


def _yaml_files(folder: Path) -> list[str]:
    with suppress(OSError):
        return sorted(file.name for file in folder.iterdir() if file.suffix in _YAML_ENDINGS)
    return []


def _nearest_file(source: str | Path, files: Sequence[str]) -> str:
    name = nearest_name(Path(source).name, files)
    return f"; did you mean {Path(source).with_name(name)}?" if name is not None else ""


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
        words = f"got {extends.plain()!r}; allowed: a known backbone or a path next to this file"
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
    if "head" in merged and "head" in entries:
        merged["head"] = _head_under(merged["head"], entries["head"])
    if "stages" in merged:
        merged["stages"] = _say_of_all(merged["stages"], every_stage, downsample)
    if "stages" in entries:
        entries["stages"] = _stages(merged.pop("stages", None), entries["stages"], every_stage)
    for key, value in entries.items():
        merged[key] = merge(merged[key], value) if key in merged else value
    base_marks = base.key_marks if base is not None else {}
    return Node(merged, node.mark, {**base_marks, **node.key_marks})


def _head_under(old: Node, new: Node) -> Node:
    """The base's head, without what belongs to an mlp head where this file makes it linear."""
    if "kind" not in new.map or new.map["kind"].value != "linear":
        return old
    kept = {key: value for key, value in old.map.items() if key not in OF_MLP_HEADS}
    return Node(kept, old.mark, old.key_marks)


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
    """`new` over `old`: maps key by key, anything else, choices and ranges too, as `new` has it."""
    if not isinstance(old.value, dict) or not isinstance(new.value, dict):
        return new
    if any(is_form(node, form) for node in (old, new) for form in FORMS):
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


def node_at(node: Node, path: tuple[str | int, ...]) -> Node:
    """The value at `path`, or the nearest one around it."""
    for part in path:
        if isinstance(node.value, dict) and part in node.value:
            node = node.value[str(part)]
        elif isinstance(node.value, tuple) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
        else:
            break
    return node


def mark_of(node: Node, path: tuple[str | int, ...]) -> Mark:
    """The place of the value at `path`, or of the nearest one around it."""
    return node_at(node, path).mark


def key_mark_of(node: Node, path: tuple[str | int, ...]) -> Mark:
    """The place of the key that ends `path`, or of the nearest value around it."""
    around = node_at(node, path[:-1])
    return around.key_marks.get(str(path[-1]), around.mark)

"""Reading YAML strictly: YAML 1.2 core scalars, each value with its place in the file.

Refused before anything is constructed: tags, duplicate keys, several documents, and files,
nesting or aliases beyond what a spec can need.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from metaformer.errors import Mark, Problem, SpecError

MAX_BYTES = 256 * 1024
MAX_NESTING = 32
MAX_NODES = 20_000  # aliases counted as often as they are used
MAX_SCALAR = 4096

Scalar: TypeAlias = bool | int | float | str | None

_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SURROGATE = re.compile("[\ud800-\udfff]")
_MERGE = re.compile(r"<<")
_SPECIAL = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


@dataclass(frozen=True, slots=True)
class Node:
    """A value of a YAML file and its place; `key_marks` are the places of a map's keys."""

    value: Scalar | dict[str, Node] | tuple[Node, ...]
    mark: Mark
    key_marks: dict[str, Mark] = field(default_factory=dict)

    @property
    def map(self) -> dict[str, Node]:
        """The entries of a map; empty for anything else."""
        return self.value if isinstance(self.value, dict) else {}

    def plain(self) -> Any:
        """The value without its places: scalars, dicts and lists."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, tuple):
            return [node.plain() for node in self.value]
        return self.value


def read_yaml(path: str | Path) -> Node:
    """The document of the file at `path`; SpecError if it cannot be read."""
    file = Path(path)
    start = Mark(str(path), 1, 1)
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise SpecError(Problem("", f"cannot be read: {error.strerror}", start)) from None
    if len(data) > MAX_BYTES:
        allowed = f"allowed: {MAX_BYTES // 1024} KiB"
        raise SpecError(Problem("", f"got {file.stat().st_size} bytes of YAML; {allowed}", start))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        mark = Mark(str(path), line, column)
        raise SpecError(Problem("", "not text: YAML must be UTF-8", mark)) from None
    return parse_yaml(text, source=str(path))


def parse_yaml(text: str, *, source: str) -> Node:
    """The one document of `text`; SpecError, naming `source`, if it is not strict YAML."""
    return _Reader(text, source).document()


def plain_node(value: Any, *, source: str) -> Node:
    """Plain data as nodes, for specs that come from no file."""
    mark = Mark(source, 0, 0)
    if isinstance(value, dict):
        return Node(
            {str(key): plain_node(item, source=source) for key, item in value.items()}, mark
        )
    if isinstance(value, list | tuple):
        return Node(tuple(plain_node(item, source=source) for item in value), mark)
    return Node(value, mark)


class _Reader:
    def __init__(self, text: str, source: str) -> None:
        self._lines = text.splitlines()
        self._text = text
        self._source = source
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._nodes = 0
        self._last = Mark(source, 1, 1)

    def document(self) -> Node:
        try:
            node = self._document(self._events())
        except SpecError:
            raise
        except yaml.reader.ReaderError as error:
            raise self._reader_error(error) from None
        except yaml.MarkedYAMLError as error:
            words = error.problem or error.context or "not YAML"
            if "'\\t'" in words:
                words = "found a tab; YAML indents with spaces"
            raise self._problem(words, error.problem_mark or error.context_mark) from None
        except (ValueError, OverflowError) as error:  # PyYAML's own, of escapes and versions
            raise SpecError(Problem("", f"not YAML: {error}", self._last)) from None
        if node is None:
            raise SpecError(Problem("", "the file is empty", Mark(self._source, 1, 1)))
        return node

    def _events(self) -> Iterator[yaml.Event]:
        for event in yaml.parse(self._text, Loader=yaml.SafeLoader):
            self._last = self._mark(event.start_mark)
            yield event

    def _document(self, events: Iterator[yaml.Event]) -> Node | None:
        root: Node | None = None
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    raise self._problem("a second document; allowed: one", event.start_mark)
                root = self._node(next(events), events, 0)[0]
        return root

    def _node(self, event: Any, events: Iterator[yaml.Event], depth: int) -> tuple[Node, int]:
        """The node that `event` begins, and how many nodes it stands for."""
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                raise self._problem(f"unknown alias *{event.anchor}", event.start_mark)
            node, size = self._anchors[event.anchor]
            self._count(size, event)
            return node, size
        if depth > MAX_NESTING:
            raise self._problem(f"nested too deeply; allowed: {MAX_NESTING}", event.start_mark)
        # a tag of null or "!" is YAML's own way to say "no tag"
        if event.tag not in (None, "!"):
            raise self._problem(f"tag {event.tag}: tags are not allowed", event.start_mark)
        self._count(1, event)
        if isinstance(event, yaml.MappingStartEvent):
            node, size = self._map(event, events, depth)
        elif isinstance(event, yaml.SequenceStartEvent):
            node, size = self._list(event, events, depth)
        else:
            node, size = Node(self._scalar(event), self._mark(event.start_mark)), 1
        if event.anchor is not None:
            self._anchors[event.anchor] = (node, size)
        return node, size

    def _map(self, start: Any, events: Iterator[yaml.Event], depth: int) -> tuple[Node, int]:
        entries: dict[str, Node] = {}
        key_marks: dict[str, Mark] = {}
        size = 1
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                raise self._problem("a key must be a word", event.start_mark)
            key = self._short(event)
            if _MERGE.fullmatch(key) and event.implicit[0]:  # quoted, it is a word
                raise self._problem("merge keys are not allowed; use extends", event.start_mark)
            if key in entries:
                first = key_marks[key].line
                raise self._problem(f"{key}: given twice, first in line {first}", event.start_mark)
            key_marks[key] = self._mark(event.start_mark)
            entries[key], entry_size = self._node(next(events), events, depth + 1)
            size += entry_size
        return Node(entries, self._mark(start.start_mark), key_marks), size

    def _list(self, start: Any, events: Iterator[yaml.Event], depth: int) -> tuple[Node, int]:
        items: list[Node] = []
        size = 1
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            item, item_size = self._node(event, events, depth + 1)
            items.append(item)
            size += item_size
        return Node(tuple(items), self._mark(start.start_mark)), size

    def _scalar(self, event: Any) -> Scalar:
        text = self._short(event)
        if not event.implicit[0]:  # quoted
            return text
        if _NULL.fullmatch(text):
            return None
        if _BOOL.fullmatch(text):
            return text.lower() == "true"
        if len(text) <= 64:
            if _INT.fullmatch(text):
                return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
            if _FLOAT.fullmatch(text):
                return float(text)
            if _SPECIAL.fullmatch(text):
                return float(text.replace(".", "", 1))
        return text

    def _short(self, event: Any) -> str:
        if len(event.value) > MAX_SCALAR:
            raise self._problem(f"a value of over {MAX_SCALAR} characters", event.start_mark)
        if _SURROGATE.search(event.value):  # an escape can write it, and nothing can print it
            raise self._problem("a lone surrogate, which is no character", event.start_mark)
        return str(event.value)

    def _count(self, nodes: int, event: Any) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            words = f"over {MAX_NODES} values, aliases counted as often as they are used"
            raise self._problem(words, event.start_mark)

    def _mark(self, mark: Any) -> Mark:
        text = self._lines[mark.line] if mark.line < len(self._lines) else ""
        return Mark(self._source, mark.line + 1, mark.column + 1, text)

    def _problem(self, message: str, mark: Any) -> SpecError:
        return SpecError(Problem("", message, self._mark(mark)))

    def _reader_error(self, error: Any) -> SpecError:
        before = self._text[: error.position]
        line, column = before.count("\n") + 1, error.position - before.rfind("\n")
        mark = Mark(self._source, line, column)
        return SpecError(
            Problem("", f"not text: character U+{ord(self._text[error.position]):04X}", mark)
        )


class _CoreDumper(yaml.SafeDumper):
    """Writes what `read_yaml` reads back: quotes whatever YAML 1.2 would not take for text."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_CoreDumper.yaml_implicit_resolvers = {}
for _tag, _pattern in (
    ("merge", _MERGE),
    ("null", _NULL),
    ("bool", _BOOL),
    ("int", _INT),
    ("float", re.compile(f"({_FLOAT.pattern}|{_SPECIAL.pattern})")),
):
    _CoreDumper.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(f"^({_pattern.pattern})$"), None
    )


def write_yaml(value: Any) -> str:
    """Plain data as YAML text, small maps and lists on one line."""
    return yaml.dump(
        value,
        Dumper=_CoreDumper,
        sort_keys=False,
        default_flow_style=None,
        width=99,
        allow_unicode=True,
    )

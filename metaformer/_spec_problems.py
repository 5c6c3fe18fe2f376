"""From pydantic's errors to problems: each mistake once, in YAML's words, at its place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from pydantic import ValidationError

from metaformer.errors import FieldError, Problem, format_path
from metaformer.extends import key_mark_of, mark_of, node_at
from metaformer.field_words import field_at, keys_at, value_words
from metaformer.forms import FORMS, form_mistake
from metaformer.yaml_tree import Node
from mixers.errors import nearest, nearest_name

Path: TypeAlias = tuple[str | int, ...]


class ProblemReader:
    """Reads what pydantic says of `node` as `model`.

    `sugar` are top-level keys that the fields do not show; with `forms`, fields may hold a choice
    or a range.
    """

    def __init__(self, model: Any, node: Node, *, sugar: Sequence[str], forms: bool) -> None:
        self._model = model
        self._node = node
        self._sugar = sugar
        self._forms = forms

    def problems(self, error: ValidationError) -> list[Problem]:
        """Each mistake once: without what only follows from another one."""
        items = error.errors(include_url=False)
        meant = {self._meant(item["loc"]) for item in items if item["type"] == "extra_forbidden"}
        missing: dict[Path, list[str]] = {}
        for item in items:
            if item["type"] == "missing" and not _follows(item["loc"], meant):
                missing.setdefault(item["loc"][:-1], []).append(str(item["loc"][-1]))
        found = []
        for item in items:
            if item["type"] == "missing":
                names = missing.pop(item["loc"][:-1], None)
                found += [self._missing(item["loc"][:-1], names)] if names else []
            elif not _is_short_by_others(item, items):
                found.append(self._problem(item))
        return found

    def _known(self, path: Path) -> list[str]:
        """The keys that the map at `path` may hold."""
        return [*keys_at(self._model, path), *(() if path else self._sugar)]

    def _meant(self, path: Path) -> Path:
        """An unknown key with the nearest known one, or the nearest form, in its place."""
        words = [*self._known(path[:-1]), *(FORMS if self._is_alone(path) else ())]
        return (*path[:-1], nearest_name(path[-1], words) or "")

    def _is_alone(self, path: Path) -> bool:
        """Return whether the key that ends `path` could be a form: alone in its map."""
        return self._forms and form_mistake(node_at(self._node, path[:-1]).map) is not None

    def _missing(self, path: Path, names: list[str]) -> Problem:
        mark = mark_of(self._node, path)
        said = self._stages_of_the_base(path)
        if len(names) == 1:
            return Problem(format_path((*path, names[0])), f"missing{said}", mark)
        return Problem(format_path(path), f"missing {', '.join(names)}{said}", mark)

    def _stages_of_the_base(self, path: Path) -> str:
        """`; the base has N stages` for a stage beyond those that a base gives fields to."""
        stages = self._node.map.get("stages")
        if len(path) != 2 or path[0] != "stages" or stages is None:
            return ""
        listed = stages.value if isinstance(stages.value, tuple) else ()
        from_base = [
            index
            for index, stage in enumerate(listed)
            if any(mark.source != stages.mark.source for mark in stage.key_marks.values())
        ]
        count = max(from_base, default=-1) + 1
        beyond = 0 < count <= int(path[1])
        return f"; the base has {count} stage{'s' if count > 1 else ''}" if beyond else ""

    def _problem(self, item: Any) -> Problem:
        path: Path = tuple(item["loc"])
        if item["type"] == "extra_forbidden":
            return self._unknown_key(path)
        if item["type"] == "value_error":
            error = item["ctx"]["error"]
            path += error.path if isinstance(error, FieldError) else ()
            return Problem(format_path(path), str(error), mark_of(self._node, path))
        got = item["input"]
        misspelt = form_mistake(got) if self._forms and isinstance(got, dict) else None
        if misspelt is not None:
            mark = key_mark_of(self._node, (*path, next(iter(got))))
            return Problem(format_path(path), misspelt, mark)
        words = value_words(item, field_at(self._model, path), path)
        return Problem(format_path(path), words, mark_of(self._node, path))

    def _unknown_key(self, path: Path) -> Problem:
        mark = key_mark_of(self._node, path)
        if self._meant(path)[-1] in FORMS:
            words = form_mistake(node_at(self._node, path[:-1]).map)
            return Problem(format_path(path[:-1]), str(words), mark)
        known = self._known(path[:-1])
        words = f"unknown key; allowed: {', '.join(known)}{nearest(path[-1], known)}"
        return Problem(format_path(path), words, mark)


def _follows(missing: Path, meant: set[Path]) -> bool:
    """Return whether a field is only missing because the key that would have given it is
    misspelt."""
    beside = {(*missing[:-1], word) for word in (missing[-1], *FORMS)}
    of_all = {("extends",), *([("every_stage",)] if missing[0] == "stages" else [])}
    return bool(meant & (beside | of_all))


def _is_short_by_others(item: Any, items: Sequence[Any]) -> bool:
    """Return whether a list only counts as too short because its own items are wrong."""
    path = item["loc"]
    return item["type"] == "too_short" and any(
        len(other["loc"]) > len(path) and other["loc"][: len(path)] == path for other in items
    )

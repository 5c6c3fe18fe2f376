"""Human-readable descriptions of pydantic fields: their keys and legal values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from metaformer.errors import shorten
from mixers.errors import nearest

_NAMES: dict[Any, str] = {
    NoneType: "null",
    bool: "true, false",
    int: "integers",
    float: "numbers",
    str: "text",
    tuple: "a list",
}
_Alternative: TypeAlias = tuple[Any, Sequence[Any]]  # a type and its constraints


def keys_at(model: Any, path: Sequence[str | int]) -> list[str]:
    """The keys that a map at `path` may hold."""
    field = field_at(model, path)
    model = (_model_in(field.annotation) if field is not None else None) or model
    return list(_fields(model))


def field_at(model: Any, path: Sequence[str | int]) -> FieldInfo | None:
    """The field that a value at `path` belongs to; None if there is none."""
    field = None
    for part in path:
        if isinstance(part, int):
            continue
        field = _fields(model).get(part)
        if field is None:
            return None
        model = _model_in(field.annotation) or model
    return field


def value_words(item: Any, field: FieldInfo | None, path: Sequence[str | int]) -> str:
    """`got X; allowed: Y` for one of pydantic's errors, of the value at `path`."""
    kind, got = item["type"], item["input"]
    if kind == "too_short" and not got:
        return "got an empty list; allowed: one item or more"
    if kind == "too_long":
        least = _bound(field.metadata if field is not None else (), "min_length") or 0
        return f"got {len(got)} {path[-1]}; allowed: {least} to {item['ctx']['max_length']}"
    allowed = _allowed(field, path) if field is not None else ""
    if not allowed:
        words = item["msg"].replace("Input should be", "allowed:").replace("a valid ", "")
        return f"got {shorten(got)}; {words[0].lower()}{words[1:]}"
    finite = "finite " if kind == "finite_number" else ""
    close = nearest(got, allowed.split(", ")) if kind == "literal_error" else ""
    return f"got {shorten(got)}; allowed: {finite}{allowed}{close}"


def _allowed(field: FieldInfo, path: Sequence[str | int]) -> str:
    """The values that a field takes, or, if `path` ends with a number, each item of its list.

    A field's description says it for text that follows a pattern; empty if nobody says it.
    """
    annotation: Any = field.annotation
    if path and isinstance(path[-1], int):
        annotation = get_args(annotation)[0]
    patterned = any(getattr(constraint, "pattern", None) for constraint in field.metadata)
    if field.description or patterned:
        return field.description or ""
    alternatives = list(_alternatives(annotation, field.metadata))
    origins: list[Any] = [get_origin(kind) for kind, _ in alternatives]
    between = ", " if Literal in origins else " or "
    return between.join(_described(*each) for each in alternatives)


def takes_integers_only(field: FieldInfo | None) -> bool:
    """Return whether a field's numbers must be integers."""
    kinds = [kind for kind, _ in _alternatives(field.annotation, ())] if field is not None else []
    return int in kinds and float not in kinds


def _alternatives(annotation: Any, constraints: Sequence[Any]) -> Iterator[_Alternative]:
    """The types in an annotation such as `Annotated[int, Field(ge=1)] | None`."""
    origin = get_origin(annotation)
    if origin is Annotated:
        inside, *marks = get_args(annotation)
        own = [each for mark in marks if isinstance(mark, FieldInfo) for each in mark.metadata]
        yield from _alternatives(inside, [*constraints, *own])
    elif origin in (Union, UnionType):
        for argument in get_args(annotation):
            yield from _alternatives(argument, constraints)
    else:
        yield annotation, constraints


def _described(kind: Any, constraints: Sequence[Any]) -> str:
    if get_origin(kind) is Literal:
        return ", ".join(str(value) for value in get_args(kind))
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return "a map of keys and values"
    name = _NAMES.get(get_origin(kind) or kind, "")
    return f"{name} {_bounds(constraints)}".rstrip() if kind in (int, float) else name


def _bounds(constraints: Sequence[Any]) -> str:
    """`from 1 to 512`, `above 0, up to 100`, `from 0, below 1`, `from 1 up`."""
    ge, gt, le, lt = (_bound(constraints, name) for name in ("ge", "gt", "le", "lt"))
    if ge is not None and le is not None:
        return f"from {_number(ge)} to {_number(le)}"
    low = f"from {_number(ge)}" if ge is not None else f"above {_number(gt)}"
    high = f"up to {_number(le)}" if le is not None else f"below {_number(lt)}"
    if le is None and lt is None:
        return f"{low} up" if ge is not None else low if gt is not None else ""
    return f"{low}, {high}" if ge is not None or gt is not None else high


def _bound(constraints: Sequence[Any], name: str) -> Any:
    values = (getattr(constraint, name, None) for constraint in constraints)
    return next((value for value in values if value is not None), None)


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _fields(model: Any) -> dict[Any, FieldInfo]:
    """The fields of a model by the keys that YAML has for them."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _model_in(annotation: Any) -> Any:
    """The pydantic model inside an annotation such as `tuple[StageSpec, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_model_in(argument) for argument in get_args(annotation))
    return next((model for model in found if model is not None), None)

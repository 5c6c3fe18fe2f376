"""The forms that open a field of a backbone: `choice` and `range`, read with their places."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from metaformer.errors import Problem, SpecError, format_path
from metaformer.spec_yaml import mixer_parts, shorten
from metaformer.yaml_tree import Node
from mixers import Choice, Domain, FloatRange, IntRange, OptionValue

Chooser: TypeAlias = Callable[[str, Domain], OptionValue]
Place: TypeAlias = Sequence[str | int]


def is_form(node: Node, word: str) -> bool:
    """Whether `node` is `{word: ...}`; a range may hold `log` as well."""
    keys = set(node.map)
    return keys == {word} or (word == "range" and keys == {"range", "log"})


def node_like(node: Node, value: Any) -> Node:
    """A plain value in the place of `node`."""
    return Node(value, node.mark)


def choice_items(node: Node, place: Place) -> tuple[Node, ...]:
    """The items of `{choice: [...]}`; SpecError where it is no list of different values."""
    listed = node.map["choice"]
    where = format_path((*place, "choice"))
    if not isinstance(listed.value, tuple) or not listed.value:
        words = f"got {shorten(listed.plain())}; allowed: a list of one or more values"
        raise SpecError(Problem(where, words, listed.mark))
    labels = [_label(item) for item in listed.value]
    for index, label in enumerate(labels):
        if label in labels[:index]:
            words = f"{shorten(label)} is listed twice"
            raise SpecError(Problem(where, words, listed.value[index].mark))
    return listed.value


def choose_item(node: Node, place: Place, name: str, choose: Chooser) -> tuple[int, Node]:
    """Which item of a choice was picked, and the item; maps and lists go by their JSON."""
    items = choice_items(node, place)
    if len(items) == 1:
        return 0, items[0]
    labels = [_label(item) for item in items]
    index = labels.index(choose(name, Choice(*labels)))
    return index, items[index]


def _label(item: Node) -> OptionValue:
    if isinstance(item.value, bool | int | float | str):
        return item.value
    return json.dumps(item.plain())


def scalar_domain(node: Node, place: Place) -> Domain | None:
    """The domain of an option that is written as a choice or a range; None for a plain value."""
    if is_form(node, "range"):
        return range_domain(node, place)
    if not is_form(node, "choice"):
        return None
    values: list[OptionValue] = []
    for item in choice_items(node, place):
        if not isinstance(item.value, bool | int | float | str):
            words = f"got {shorten(item.plain())}; allowed: plain values"
            raise SpecError(Problem(format_path(place), words, item.mark))
        values.append(item.value)
    return Choice(*values)


def range_domain(node: Node, place: Place) -> Domain:
    """The domain of `{range: [low, high]}` or `[low, high, step]`; integers stay integers."""
    bounds = node.map["range"].plain()
    log = node.map["log"].plain() if "log" in node.map else False
    mark = node.map["range"].mark
    numbers = isinstance(bounds, list) and all(
        isinstance(bound, int | float) and not isinstance(bound, bool) for bound in bounds
    )
    if not numbers or len(bounds) not in (2, 3) or not isinstance(log, bool):
        words = f"got {shorten(bounds)}; allowed: [low, high] or [low, high, step]; log: true"
        raise SpecError(Problem(format_path(place), words, mark))
    try:
        low, high, step = (*bounds, None)[:3]
        if all(isinstance(bound, int) for bound in bounds):
            return IntRange(low, high, step if step is not None else 1, log)
        return FloatRange(float(low), float(high), step if step is None else float(step), log)
    except ValueError as error:
        raise SpecError(Problem(format_path(place), str(error), mark)) from None


def ends(domain: Domain) -> list[OptionValue]:
    """The values of a choice, or both ends of a range."""
    if isinstance(domain, Choice):
        return list(domain.values)
    return [domain.low, domain.high]


def written_mixer(node: Node, place: Place) -> str:
    """The name in a mixer's writing, whose options may still be open; SpecError where none is."""
    if isinstance(node.value, dict) and len(node.value) == 1:
        name, options = next(iter(node.value.items()))
        if isinstance(options.value, dict) or options.value is None:
            return name
    plain, _ = mixer_parts(node)
    if plain is None:
        words = f"got {shorten(node.plain())}; allowed: a mixer's name, {{name: {{option: value}}}}"
        words += ", any, or a choice of such"
        raise SpecError(Problem(format_path(place), words, node.mark))
    return plain

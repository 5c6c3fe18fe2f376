"""The forms that open a field of a backbone: `choice` and `range`, read with their places."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from decimal import Decimal
from math import isfinite
from typing import Any, TypeAlias

from metaformer.errors import Problem, SpecError, format_path, shorten
from metaformer.forms import FORMS, MIXER_FORMS, form_mistake, is_form
from metaformer.spec_yaml import split_mixer_node
from metaformer.yaml_tree import Node
from mixers import Choice, Domain, FloatRange, IntRange, OptionValue

Chooser: TypeAlias = Callable[[str, Domain], OptionValue]
Place: TypeAlias = Sequence[str | int]


def node_like(node: Node, value: Any) -> Node:
    """A plain value in the place of `node`."""
    return Node(value, node.mark)


def refuse_misspelt(node: Node, place: Place, forms: Sequence[str]) -> None:
    """SpecError if `node` is a map that was meant for one of `forms`."""
    words = form_mistake(node.map, forms)
    if words is not None:
        mark = node.key_marks.get(next(iter(node.map)), node.mark)
        raise SpecError(Problem(format_path(place), words, mark))


def choice_items(node: Node, place: Place) -> tuple[Node, ...]:
    """The items of `{choice: [...]}`; SpecError if it is no list of different values."""
    listed = node.map["choice"]
    where = format_path((*place, "choice"))
    if not isinstance(listed.value, tuple) or not listed.value:
        words = f"got {shorten(listed.plain())}; allowed: a list of one or more values"
        raise SpecError(Problem(where, words, listed.mark))
    for item in listed.value:
        if isinstance(item.value, float) and not isfinite(item.value):
            words = f"got {item.value}; allowed: finite numbers"
            raise SpecError(Problem(where, words, item.mark))
    labels = [_label(item) for item in listed.value]
    values = [item.plain() for item in listed.value]
    for index, (label, value) in enumerate(zip(labels, values, strict=True)):
        if value in values[:index]:
            words = f"{shorten(value)} is listed twice"
            raise SpecError(Problem(where, words, listed.value[index].mark))
        if label in labels[:index]:
            other = shorten(values[labels.index(label)])
            words = f"{other} and {shorten(value)} cannot be told apart in a record; allowed: one"
            raise SpecError(Problem(where, words, listed.value[index].mark))
    return listed.value


def choose_item(node: Node, place: Place, name: str, choose: Chooser) -> tuple[int, Node]:
    """Return the index of the item that was picked, and the item; maps and lists go by their
    JSON."""
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
        refuse_misspelt(node, place, FORMS)
        return None
    values: list[OptionValue] = []
    for item in choice_items(node, place):
        if isinstance(item.value, dict | tuple):
            words = f"got {shorten(item.plain())}; allowed: plain values"
            raise SpecError(Problem(format_path(place), words, item.mark))
        values.append(item.value)
    return Choice(*values)


def range_domain(node: Node, place: Place, *, integers: bool = False) -> Domain:
    """The domain of `{range: [low, high]}` or `[low, high, step]`; integers stay integers.

    With `integers`, others are refused.
    """
    log = node.map["log"] if "log" in node.map else node_like(node, False)
    if not isinstance(log.value, bool):
        words = f"got {shorten(log.plain())}; allowed: true, false"
        raise SpecError(Problem(format_path((*place, "log")), words, log.mark))
    written = node.map["range"]
    mistake = _range_mistake(written.plain(), log.value)
    bounds = written.plain()
    are_integers = mistake is None and all(isinstance(bound, int) for bound in bounds)
    if mistake is None and integers and not are_integers:
        mistake = "allowed here: integers"
    if mistake is not None:
        words = f"got {shorten(bounds)}; {mistake}"
        raise SpecError(Problem(format_path(place), words, written.mark))
    low, high, step = (*bounds, None)[:3]
    if are_integers:
        return IntRange(low, high, step if step is not None else 1, log.value)
    return FloatRange(float(low), float(high), step if step is None else float(step), log.value)


def _range_mistake(bounds: Any, log: bool) -> str | None:
    """Mistake in a range's list, and what is allowed."""
    numbers = isinstance(bounds, list) and all(
        isinstance(bound, int | float) and not isinstance(bound, bool) for bound in bounds
    )
    if not numbers or len(bounds) not in (2, 3) or not all(isfinite(bound) for bound in bounds):
        return "allowed: [low, high] or [low, high, step], in numbers"
    low, high, step = (*bounds, None)[:3]
    if low > high:
        return "allowed: [low, high] with low at most high"
    if log and (step is not None or low <= 0):
        return "allowed next to log: true: [low, high] with low above 0, and no step"
    if step is None:
        return None
    return "allowed: a step above 0" if step <= 0 else _step_mistake(low, high, step)


def _step_mistake(low: float, high: float, step: float) -> str | None:
    """The ranges that work in place of one whose steps do not end at its high; in decimals."""
    start, end, stride = (Decimal(str(bound)) for bound in (low, high, step))
    over = (end - start) % stride
    if not over:
        return None
    ends_at = [end - over, end - over + stride] if end - over > start else [start + stride]
    working = " or ".join(f"[{low}, {end.normalize():f}, {step}]" for end in ends_at)
    return f"the steps do not end at {high}; allowed: {working}"


def ends(domain: Domain) -> list[OptionValue]:
    """The values of a choice, or both ends of a range."""
    if isinstance(domain, Choice):
        return list(domain.values)
    return [domain.low, domain.high]


def written_mixer(node: Node, place: Place) -> str:
    """The name in a mixer's writing, whose options may still be open; SpecError if none is."""
    if isinstance(node.value, dict) and len(node.value) == 1:
        name, options = next(iter(node.value.items()))
        if isinstance(options.value, dict) or options.value is None:
            return name
    plain, _ = split_mixer_node(node)
    if plain is None:
        refuse_misspelt(node, place, MIXER_FORMS)
        words = f"got {shorten(node.plain())}; allowed: a mixer's name, {{name: {{option: value}}}}"
        words += ", any, or a choice of such"
        raise SpecError(Problem(format_path(place), words, node.mark))
    return plain


def listed_mixers(node: Node, place: Place) -> dict[str, Node]:
    """Each mixer of a `choice`, as it is written."""
    writings: dict[str, Node] = {}
    for item in choice_items(node, place):
        name = written_mixer(item, place)
        if name in writings:
            words = f"{name} is listed twice; put the choice into its options"
            raise SpecError(Problem(format_path(place), words, item.mark))
        writings[name] = item
    return writings


def chosen(node: Node, parameter: str, domain: Domain, choose: Chooser) -> Node:
    """The value chosen from `domain`, in the place of `node`; a single value needs no choosing."""
    if isinstance(domain, Choice) and len(domain.values) == 1:
        return node_like(node, domain.values[0])
    return node_like(node, choose(parameter, domain))


_SAID_BY_THE_STUDY = {
    "in_channels": "images are read with three channels",
    "num_classes": "the data say how many classes there are",
    "image_size": "train.image_size and measure.image_size say it",
}


def refuse_overwritten(tree: Node, fields: dict[str, Any]) -> None:
    """SpecError if the space itself, not a base of it, says what the study decides."""
    for key, words in _SAID_BY_THE_STUDY.items():
        mark = tree.key_marks.get(key)
        if key in fields and mark is not None and mark.source == tree.mark.source:
            raise SpecError(Problem(key, f"{words}; leave it out of the space", mark))

"""The words that open a field in a study's space: `choice`, `range`, and a mixer's `any`.

They are known here so that a backbone's file can say that it is no place for them; what they mean
is the search's.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from metaformer.errors import Problem, SpecError, format_path
from metaformer.yaml_tree import Node
from mixers.errors import nearest

FORMS = ("choice", "range")
MIXER_FORMS = ("any", "choice")


def is_form(node: Node, word: str) -> bool:
    """Return whether `node` is `{word: ...}`; a range may hold `log` as well."""
    keys = set(node.map)
    return keys == {word} or (word == "range" and keys == {"range", "log"})


def form_mistake(keys: Collection[str], forms: Sequence[str] = FORMS) -> str | None:
    """Mistake in the keys of a map that was meant for a form; None if it was not."""
    for form in forms:
        if form in keys:
            allowed = "log" if form == "range" else "nothing"
            beside = ", ".join(key for key in keys if key not in (form, allowed))
            return f"got {beside} next to {form}; allowed: {allowed}" if beside else None
    words = [key for key in keys if key != "log"]
    if len(words) != 1:
        return None
    return f"unknown form {words[0]}; allowed: {', '.join(forms)}{nearest(words[0], forms)}"


def refuse_forms(tree: Node) -> None:
    """SpecError at the first form in a backbone's map."""
    found = _first_form(tree, ())
    if found is not None:
        path, word, node = found
        words = (
            f"{word} leaves open what a backbone must say; "
            "it belongs in the space of a study, for `search run STUDY.yaml`"
        )
        raise SpecError(Problem(format_path(path), words, node.mark))


def _first_form(
    node: Node, path: tuple[str | int, ...]
) -> tuple[tuple[str | int, ...], str, Node] | None:
    for form in FORMS:
        if is_form(node, form) and isinstance(node.map[form].value, tuple):
            return path, form, node
    if "mixer" in path and (node.value == "any" or is_form(node, "any")):
        return path, "any", node
    parts = enumerate(node.value) if isinstance(node.value, tuple) else node.map.items()
    found = (_first_form(item, (*path, part)) for part, item in parts)
    return next((form for form in found if form is not None), None)

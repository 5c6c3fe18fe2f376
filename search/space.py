"""A search space: a backbone's YAML in which any field may be a `choice` or a `range`.

    width: {choice: [32, 48, 64]}              one of these
    mlp: {ratio: {range: [2, 4, 0.5]}}         low to high, in steps where there is a third number
    mixer: any                                 any installed mixer, each with its own options
    mixer: {any: {pooling: {pool_size: 3}}}    the same, some options narrowed
    mixer: {choice: [pooling, {inception_dw: {band_kernel: {choice: [5, 7]}}}]}

What a mixer's writing leaves open inside `any` or `choice` is searched over its own domain; a
mixer outside them is fixed. `any` leaves out the mixers that work at one size of map only, and
those that need normalised input in blocks other than MetaFormer's. A parameter's name is its path:
`stages.2.separable_conv.kernel_size`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from optuna.trial import BaseTrial

from metaformer.errors import Mark, Problem, SpecError, format_path
from metaformer.spec import BackboneSpec
from metaformer.spec_yaml import parse_spec
from metaformer.yaml_tree import Node
from mixers import Choice, Domain, IntRange, MixerEntry, MixerError, MixerRegistry, OptionValue
from search.space_forms import (
    Chooser,
    choice_items,
    choose_item,
    ends,
    is_form,
    node_like,
    range_domain,
    scalar_domain,
    written_mixer,
)


class SearchSpace:
    """Every backbone that a study may try.

    `parameters` are all that may be chosen, by name; `mixer_names` all mixers that may occur.
    """

    def __init__(
        self,
        tree: Node,
        registry: MixerRegistry,
        *,
        any_mixers: Sequence[str] | None = None,
        fields: dict[str, Any] | None = None,
    ) -> None:
        """`tree` is the resolved map; `any_mixers` are what `any` stands for, all by default.

        `fields` set top-level fields such as `num_classes`. SpecError, with all problems, where
        a value anywhere in the space makes no legal backbone.
        """
        set_fields = {key: node_like(tree, value) for key, value in (fields or {}).items()}
        self._tree = Node({**tree.map, **set_fields}, tree.mark, tree.key_marks)
        self._registry = registry
        self._any = list(any_mixers) if any_mixers is not None else registry.names()
        self.parameters: dict[str, Domain] = {}
        self.mixer_names: set[str] = set()
        self._explore()

    @property
    def tree(self) -> Node:
        """The space as it was written, with its places."""
        return self._tree

    def suggest(self, trial: BaseTrial) -> BackboneSpec:
        """The backbone that Optuna proposes in `trial`."""

        def choose(name: str, domain: Domain) -> OptionValue:
            if isinstance(domain, Choice):
                value: OptionValue = trial.suggest_categorical(name, domain.values)  # type: ignore[assignment]  # none of the values is None
                return value
            low, high, log = domain.low, domain.high, domain.log
            if isinstance(domain, IntRange):
                return trial.suggest_int(name, int(low), int(high), step=domain.step, log=log)
            return trial.suggest_float(name, low, high, step=domain.step, log=log)

        return self.backbone(choose)

    def backbone(self, choose: Chooser) -> BackboneSpec:
        """The backbone for which `choose` picks each parameter's value."""
        return parse_spec(self._realise(self._tree, (), "", choose), self._registry)

    def _explore(self) -> None:
        """Finds all parameters and tries each of their values once, the others at their first."""
        problems: dict[str, Problem] = {}
        pending: list[dict[str, OptionValue]] = [{}]
        while pending:
            fixed = pending.pop()

            def choose(
                name: str, domain: Domain, fixed: dict[str, OptionValue] = fixed
            ) -> OptionValue:
                values = ends(domain)
                if name not in self.parameters:
                    self.parameters[name] = domain
                    pending.extend({**fixed, name: value} for value in values[1:])
                return fixed.get(name, values[0])

            try:
                spec = self.backbone(choose)
            except SpecError as error:
                problems.update({str(problem): problem for problem in error.problems})
            else:
                self.mixer_names.update(m.name for stage in spec.stages for m in stage.mixer)
        if problems:
            raise SpecError(list(problems.values()))

    def _realise(self, node: Node, path: tuple[str | int, ...], name: str, choose: Chooser) -> Node:
        """`node` with every choice and range in it replaced by one value.

        `name` is the parameter's: the path, with `#1` where the second item of a choice was taken.
        """
        if is_form(node, "choice"):
            index, item = choose_item(node, path, name, choose)
            return self._realise(item, path, f"{name}#{index}", choose)
        if is_form(node, "range"):
            return node_like(node, choose(name, range_domain(node, path)))
        if isinstance(node.value, tuple):
            items = (
                self._realise(item, (*path, index), _inside(name, index), choose)
                for index, item in enumerate(node.value)
            )
            return Node(tuple(items), node.mark)
        if not isinstance(node.value, dict):
            return node
        is_stage = len(path) == 2 and path[0] == "stages"
        entries = {
            key: self._realise(value, (*path, key), _inside(name, key), choose)
            for key, value in node.value.items()
            if not (is_stage and key == "mixer")
        }
        if is_stage and "mixer" in node.value:
            block = entries["block"].value if "block" in entries else None
            searched = "block" in entries and is_form(node.value["block"], "choice")
            place = _MixerPlace((*path, "mixer"), name, str(block), searched)
            entries["mixer"] = self._realise_mixer(node.value["mixer"], place, choose)
        return Node(entries, node.mark, node.key_marks)

    def _realise_mixer(self, node: Node, place: _MixerPlace, choose: Chooser) -> Node:
        if isinstance(node.value, tuple):
            items = (
                self._realise_mixer(item, place.in_pattern(index), choose)
                for index, item in enumerate(node.value)
            )
            return Node(tuple(items), node.mark)
        if node.value == "any" or is_form(node, "any"):
            writings = self._any_mixers(node, place)
        elif is_form(node, "choice"):
            writings = _listed_mixers(node, place)
        else:
            return self._realise_options(node, place, choose, search_all=False)
        names = list(writings)
        name = choose(place.parameter, Choice(*names)) if len(names) > 1 else names[0]
        return self._realise_options(writings[str(name)], place, choose, search_all=True)

    def _any_mixers(self, node: Node, place: _MixerPlace) -> dict[str, Node]:
        """Each mixer that `any` stands for in this block, as it is written."""
        narrowed = node.map.get("any", node_like(node, None))
        for name in narrowed.map:
            if self._entry(name, narrowed.key_marks[name], place).name not in self._any:
                words = f"{name} is not a mixer of this study; allowed: {', '.join(self._any)}"
                raise SpecError(Problem(format_path(place.path), words, narrowed.key_marks[name]))
        writings = {}
        for name in self._any:
            entry = self._entry(name, node.mark, place)
            if entry.fixed_map_size and name not in narrowed.map:
                continue
            if entry.needs_normalised_input and place.block != "metaformer":
                continue
            writings[name] = node_like(node, name)
            if name in narrowed.map:
                writings[name] = Node({name: narrowed.map[name]}, node.mark, narrowed.key_marks)
        return writings

    def _realise_options(
        self, node: Node, place: _MixerPlace, choose: Chooser, *, search_all: bool
    ) -> Node:
        """The mixer with each option as written or chosen; with `search_all` the others too."""
        name = written_mixer(node, place.path)
        written = node.map.get(name, node_like(node, None))
        values = {}
        for key, value in written.map.items():
            domain = scalar_domain(value, (*place.path, name, key))
            parameter = f"{place.name}.{name}.{key}"
            values[key] = value if domain is None else _chosen(value, parameter, domain, choose)
        if search_all:
            entry = self._entry(name, node.key_marks.get(name, node.mark), place)
            for option in entry.options:
                if option.name not in values:
                    parameter = f"{place.name}.{name}.{option.name}"
                    domain = option.domain.search_domain()
                    values[option.name] = _chosen(node, parameter, domain, choose)
        options = Node(values, written.mark, written.key_marks)
        return Node({name: options}, node.mark, node.key_marks)

    def _entry(self, name: str, mark: Mark, place: _MixerPlace) -> MixerEntry:
        try:
            entry = self._registry[name]
            entry.options  # noqa: B018  # reading them is what may fail
        except MixerError as error:
            words = str(error) if str(error).startswith(name) else f"got {name}; {error}"
            raise SpecError(Problem(format_path(place.path), words, mark)) from None
        return entry


@dataclass(frozen=True)
class _MixerPlace:
    """Where a mixer is written: its path, the prefix of its parameters, its stage's block.

    Which mixers `any` stands for depends on the block, so where the block is searched each of
    its values has a parameter of its own.
    """

    path: tuple[str | int, ...]
    name: str
    block: str
    block_is_searched: bool

    @property
    def parameter(self) -> str:
        return f"{self.name}.{self.block}.mixer" if self.block_is_searched else f"{self.name}.mixer"

    def in_pattern(self, index: int) -> _MixerPlace:
        return replace(self, path=(*self.path, index), name=f"{self.name}.{index}")


def _inside(name: str, part: str | int) -> str:
    return f"{name}.{part}" if name else str(part)


def _listed_mixers(node: Node, place: _MixerPlace) -> dict[str, Node]:
    """Each mixer of a `choice`, as it is written."""
    writings: dict[str, Node] = {}
    for item in choice_items(node, place.path):
        name = written_mixer(item, place.path)
        if name in writings:
            words = f"{name} is listed twice; put the choice into its options"
            raise SpecError(Problem(format_path(place.path), words, item.mark))
        writings[name] = item
    return writings


def _chosen(node: Node, parameter: str, domain: Domain, choose: Chooser) -> Node:
    """The value chosen from `domain`, in the place of `node`; a single value needs no choosing."""
    if isinstance(domain, Choice) and len(domain.values) == 1:
        return node_like(node, domain.values[0])
    return node_like(node, choose(parameter, domain))

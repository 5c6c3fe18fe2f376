"""A search space: a backbone's YAML in which any field may be a `choice` or a `range`.

    width: {choice: [32, 48, 64]}              one of these
    mlp: {ratio: {range: [2, 4, 0.5]}}         low to high, in steps if there is a third number
    mixer: any                                 any installed mixer, each with its own options
    mixer: {any: {pooling: {pool_size: 3}}}    the same, some options narrowed
    mixer: {choice: [pooling, {inception_dw: {band_kernel: {choice: [5, 7]}}}]}

What a mixer's writing leaves open inside `any` or `choice` is searched over its own domain; a
mixer outside them is fixed. `any` leaves out mixers that work at one size of map only, that need
normalised input in other blocks than MetaFormer's, or that the study's device or sizes rule out
(study_space.py). A parameter's name is its path: `stages.2.separable_conv.kernel_size`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from optuna.trial import BaseTrial

from metaformer.errors import Mark, Problem, SpecError, format_path, shorten
from metaformer.field_words import field_at, takes_integers_only
from metaformer.forms import FORMS, is_form
from metaformer.spec import OF_MLP_HEADS, BackboneSpec
from metaformer.spec_yaml import parse_spec
from metaformer.yaml_tree import Node
from mixers import (
    Choice,
    Domain,
    IntRange,
    MixerEntry,
    MixerError,
    MixerRegistry,
    OptionValue,
    PluginError,
    PluginsFileError,
    SignatureError,
)
from search.space._exploration import Explorer
from search.space._syntax import (
    Chooser,
    choose_item,
    chosen,
    listed_mixers,
    node_like,
    range_domain,
    refuse_misspelt,
    refuse_overwritten,
    scalar_domain,
    written_mixer,
)


@dataclass(frozen=True)
class MixerPlace:
    """Place of a mixer in the tree: its path, the prefix of its parameters, its stage's block.

    Which mixers `any` stands for depends on the block, so if the block is searched each of
    its values has a parameter of its own.
    """

    path: tuple[str | int, ...]
    name: str
    block: str
    block_is_searched: bool

    @property
    def parameter(self) -> str:
        return f"{self.name}.{self.block}.mixer" if self.block_is_searched else f"{self.name}.mixer"

    def in_pattern(self, index: int) -> MixerPlace:
        return replace(self, path=(*self.path, index), name=f"{self.name}.{index}")


def inside(name: str, part: str | int) -> str:
    return f"{name}.{part}" if name else str(part)


class SearchSpace:
    """Every backbone that a study may try.

    `parameters` are all that may be chosen, by name; `mixer_names` all mixers that may occur;
    `any_names` those that `any` stands for; `left_out` what it does without, with the reason.
    """

    def __init__(
        self,
        tree: Node,
        registry: MixerRegistry,
        *,
        any_mixers: Sequence[str] | None = None,
        fields: dict[str, Any] | None = None,
        check: Callable[[], None] = lambda: None,
        leave_out: Callable[[MixerEntry], str | None] = lambda _entry: None,
    ) -> None:
        """`tree` is the resolved map; `any_mixers` are what `any` stands for, all by default.

        `fields` set top-level fields such as `num_classes`. SpecError, with all problems, if
        a value anywhere in the space makes no legal backbone. `check` is called between the
        values that are tried and may raise to stop. `leave_out` gives a reason if `any` should do
        without a mixer, in addition to broken ones.
        """
        fields = {"in_channels": 3, **(fields or {})}
        if any_mixers is None:  # else the space of a study under way, its base's fields in it
            refuse_overwritten(tree, fields)
        set_fields = {key: node_like(tree, value) for key, value in fields.items()}
        self._tree = Node({**tree.map, **set_fields}, tree.mark, tree.key_marks)
        self._registry = registry
        self._frozen = any_mixers is not None
        self._any = list(any_mixers) if any_mixers is not None else registry.names()
        self._leave_out, self.any_names = leave_out, set[str]()
        self.left_out: dict[str, str] = {}
        found = Explorer(self.backbone, check)
        self.parameters, self.mixer_names = found.parameters, found.mixer_names
        found.explore()

    @property
    def tree(self) -> Node:
        """The space as it was written, with its places."""
        return self._tree

    def suggest(self, trial: BaseTrial) -> BackboneSpec:
        """The backbone that Optuna proposes in `trial`; SpecError if its values, each of them
        legal, make none together."""
        return self.parse(self.realise(trial))

    def realise(self, trial: BaseTrial) -> Node:
        """Asks `trial` for every value; what they make is not looked at yet."""

        def choose(name: str, domain: Domain) -> OptionValue:
            if isinstance(domain, Choice):
                return trial.suggest_categorical(name, domain.values)
            low, high, log = domain.low, domain.high, domain.log
            if isinstance(domain, IntRange):
                return trial.suggest_int(name, int(low), int(high), step=domain.step, log=log)
            return trial.suggest_float(name, low, high, step=domain.step, log=log)

        return self._realise(self._tree, (), "", choose)

    def backbone(self, choose: Chooser) -> BackboneSpec:
        """The backbone for which `choose` picks each parameter's value."""
        return self.parse(self._realise(self._tree, (), "", choose))

    def parse(self, tree: Node) -> BackboneSpec:
        """The backbone of a tree without choices; SpecError if it makes none."""
        return parse_spec(tree, self._registry, forms=True)

    def _realise(self, node: Node, path: tuple[str | int, ...], name: str, choose: Chooser) -> Node:
        """`node` with every choice and range in it replaced by one value.

        `name` is the parameter's: the path, with `#1` if the second item of a choice was taken.
        """
        if is_form(node, "choice"):
            index, item = choose_item(node, path, name, choose)
            return self._realise(item, path, f"{name}#{index}", choose)
        if is_form(node, "range"):
            integers = takes_integers_only(field_at(BackboneSpec, path))
            return node_like(node, choose(name, range_domain(node, path, integers=integers)))
        if isinstance(node.value, tuple):
            items = (
                self._realise(item, (*path, index), inside(name, index), choose)
                for index, item in enumerate(node.value)
            )
            return Node(tuple(items), node.mark)
        if not isinstance(node.value, dict):
            return node
        for form in set(FORMS) & node.value.keys():
            refuse_misspelt(node, path, [form])
        is_stage = len(path) == 2 and path[0] == "stages"
        entries = {
            key: self._realise(value, (*path, key), inside(name, key), choose)
            for key, value in node.value.items()
            if not (is_stage and key == "mixer")
        }
        if is_stage and "mixer" in node.value:
            block = entries["block"].value if "block" in entries else None
            searched = "block" in entries and is_form(node.value["block"], "choice")
            place = MixerPlace((*path, "mixer"), name, str(block), searched)
            entries["mixer"] = self._realise_mixer(node.value["mixer"], place, choose)
        if path == ("head",) and "kind" in entries and is_form(node.value["kind"], "choice"):
            silent = OF_MLP_HEADS if entries["kind"].value == "linear" else ()
            entries = {key: value for key, value in entries.items() if key not in silent}
        return Node(entries, node.mark, node.key_marks)

    def _realise_mixer(self, node: Node, place: MixerPlace, choose: Chooser) -> Node:
        if isinstance(node.value, tuple):
            items = (
                self._realise_mixer(item, place.in_pattern(index), choose)
                for index, item in enumerate(node.value)
            )
            return Node(tuple(items), node.mark)
        if node.value == "any" or is_form(node, "any"):
            writings = self._any_mixers(node, place)
        elif is_form(node, "choice"):
            writings = listed_mixers(node, place.path)
        else:
            return self._realise_options(node, place, choose, search_all=False)
        names = list(writings)
        name = choose(place.parameter, Choice(*names)) if len(names) > 1 else names[0]
        return self._realise_options(writings[str(name)], place, choose, search_all=True)

    def _any_mixers(self, node: Node, place: MixerPlace) -> dict[str, Node]:
        """Each mixer that `any` stands for in this block, as it is written."""
        narrowed = node.map.get("any", node_like(node, None))
        if not isinstance(narrowed.value, dict | None):
            words = f"got {shorten(narrowed.plain())}; allowed: {{mixer: {{option: value}}}}; "
            words += "for some mixers only, choice: [mixer, mixer]"
            raise SpecError(Problem(format_path((*place.path, "any")), words, narrowed.mark))
        said = {}  # how the narrowed ones are written, by canonical name
        for name in narrowed.map:
            canonical = self._entry(name, narrowed.key_marks[name], place).name
            if canonical not in self._any:
                words = f"{name} is not a mixer of this study; allowed: {', '.join(self._any)}"
                raise SpecError(Problem(format_path(place.path), words, narrowed.key_marks[name]))
            said[canonical] = name
        writings = {}
        for name in self._any:
            if name not in said and self._is_left_out(name):
                continue
            entry = self._entry(name, node.mark, place)
            if entry.fixed_map_size and name not in said:
                continue
            if entry.needs_normalised_input and place.block != "metaformer":
                continue
            writings[name] = node_like(node, name)
            if name not in said:
                self.any_names.add(name)
            else:
                marks = {name: narrowed.key_marks[said[name]]}
                writings[name] = Node({name: narrowed.map[said[name]]}, node.mark, marks)
        if not writings:
            words = "; ".join(("any stands for no mixer here", *self.left_out.values()))
            raise SpecError(Problem(format_path(place.path), words, node.mark))
        return writings

    def _is_left_out(self, name: str) -> bool:
        """Return whether `any` leaves out that mixer, which nothing names: broken, or ruled out."""
        if not self._frozen and name not in self.left_out:
            reason = (entry := self._registry[name]).broken() or self._leave_out(entry)
            if reason is not None:
                self.left_out[name] = reason
        return name in self.left_out

    def _realise_options(
        self, node: Node, place: MixerPlace, choose: Chooser, *, search_all: bool
    ) -> Node:
        """The mixer with each option as written or chosen; with `search_all` the others too."""
        name = written_mixer(node, place.path)
        written = node.map.get(name, node_like(node, None))
        values = {}
        for key, value in written.map.items():
            domain = scalar_domain(value, (*place.path, name, key))
            parameter = f"{place.name}.{name}.{key}"
            values[key] = value if domain is None else chosen(value, parameter, domain, choose)
        if search_all:
            entry = self._entry(name, node.key_marks.get(name, node.mark), place)
            for option in entry.options:
                if option.name not in values:
                    parameter = f"{place.name}.{name}.{option.name}"
                    domain = option.search_domain()
                    values[option.name] = chosen(node, parameter, domain, choose)
        options = Node(values, written.mark, written.key_marks)
        return Node({name: options}, node.mark, node.key_marks)

    def _entry(self, name: str, mark: Mark, place: MixerPlace) -> MixerEntry:
        where = format_path(place.path)
        try:
            entry = self._registry[name]
            entry.options  # noqa: B018  # reading them is what may fail
        except (PluginError, SignatureError) as error:  # the author's, not the space's
            raise PluginError(str(Problem(where, str(error), mark))) from error
        except PluginsFileError:
            raise
        except MixerError as error:
            words = str(error) if str(error).startswith(name) else f"got {name}; {error}"
            raise SpecError(Problem(where, words, mark)) from None
        return entry

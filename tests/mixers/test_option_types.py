"""The values that options may have, from the constructor's annotation to the files of a study."""

from __future__ import annotations

import json
import math
from enum import Enum
from typing import Annotated, Any, Literal

import numpy as np
import optuna
import pytest
import yaml
from misbehaving import entry_point
from optuna.distributions import distribution_to_json, json_to_distribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from torch import nn
from varied_options import Varied

from metaformer import BackboneSpec, SpecError
from metaformer.extends import resolve_extends
from metaformer.spec_yaml import dump_spec, parse_spec
from metaformer.yaml_tree import parse_yaml
from mixers import (
    Choice,
    FloatRange,
    IntRange,
    MixerRegistry,
    SignatureError,
    Site,
    read_options,
)
from mixers._registry import registry_of
from mixers._rules import narrowed
from mixers.conformance import Status, check_mixer
from mixers.plugins_file import PluginRules
from mixers.scan import scan
from search.space.search_space import SearchSpace


def test_annotations_are_read_as_choices() -> None:
    domains = {option.name: option.domain for option in read_options(Varied)}
    assert domains == {
        "mode": Choice("sum", "mean"),
        "flag": Choice(False, True),
        "window": Choice(None, 3, 5),
        "reduction": Choice("sum", "mean"),
        "size": Choice(3, 5),
        "padding": Choice("zeros", "reflect", None),
        "cap": Choice(1, 2, None),
    }
    defaults = [option.default for option in read_options(Varied)]
    assert defaults == ["sum", True, None, "sum", 5, None, 2]
    assert not any(isinstance(default, Enum) for default in defaults)


def test_a_mixer_with_options_of_every_type_passes() -> None:
    only = ["signature", "declarations", "shapes", "options", "gradients_fp32"]
    records = check_mixer(Varied, only=only)
    assert {record.status for record in records} == {Status.PASSED}, records


@pytest.mark.parametrize(
    "value", [(3, 5), [3, 5], {"a": 1}, int, nn.ReLU, b"a", np.float64(1.0), np.int64(3), 1j]
)
def test_a_value_that_no_file_keeps_is_refused_where_it_is_written(value: object) -> None:
    with pytest.raises(ValueError, match=r"Choice: got .* of type .*; allowed: True, False"):
        Choice("a", value)  # type: ignore[arg-type]


def test_a_member_of_an_enum_of_tuples_is_refused() -> None:
    class Kernel(Enum):
        WIDE = (1, 11)

    with pytest.raises(ValueError, match=r"got \(1, 11\), the value of Kernel.WIDE, of type tuple"):
        Choice(Kernel.WIDE)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="allowed: finite numbers"):
        Choice(1.0, value)


@pytest.mark.parametrize(
    "values", [(3, 3), (1, True), (0, False), (1, 1.0), ("a", "a"), (None,) * 2]
)
def test_equal_values_are_refused(values: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match="Choice: .*; allowed: values that differ"):
        Choice(*values)


@pytest.mark.parametrize(
    "build",
    [
        lambda: Choice(1, 2, search=(1, 1)),
        lambda: IntRange(1, 9, search=(3, 3)),
        lambda: FloatRange(0, 1, search=(1, 1.0)),
    ],
)
def test_equal_values_to_search_are_refused(build: Any) -> None:
    with pytest.raises(ValueError, match="allowed: values that differ"):
        build()


class TupleInLiteral:
    def __init__(self, site: Site, *, mode: Literal[b"a"] = b"a") -> None: ...


class RangeOrNone:
    def __init__(self, site: Site, *, k: Annotated[int, IntRange(1, 3)] | None = None) -> None: ...


class EitherOr:
    def __init__(self, site: Site, *, k: int | str = 1) -> None: ...


class EmptyEnum:
    class Nothing(Enum):
        pass

    def __init__(self, site: Site, *, k: EmptyEnum.Nothing = None) -> None: ...  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (TupleInLiteral, "mode: Choice: got b'a' of type bytes"),
        (RangeOrNone, "k is a range or None; list its values with None"),
        (EitherOr, "k has no legal values; annotate it"),
        (EmptyEnum, "k has no legal values; annotate it"),
    ],
)
def test_other_annotations_are_refused_with_what_to_write(kind: type, words: str) -> None:
    with pytest.raises(SignatureError, match=words):
        read_options(kind)


def test_a_list_of_a_plugins_file_that_names_a_value_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="5 is listed twice"):
        narrowed(Choice(3, 5), [5, 5])


VALUES = [None, True, False, 0.5, 3, "null", "true", "3", "1e-3", "no", "ü: #", ""]


def test_values_survive_yaml_json_and_the_journal_of_optuna() -> None:
    domain = Choice(*VALUES)
    distribution = optuna.distributions.CategoricalDistribution(domain.values)
    through_journal = json_to_distribution(distribution_to_json(distribution))
    assert list(through_journal.choices) == VALUES  # type: ignore[attr-defined]
    for value in VALUES:
        assert domain.normalise(value) == value
        assert json.loads(json.dumps(value)) == value
        assert yaml.safe_load(yaml.safe_dump(value)) == value
        index = distribution.to_internal_repr(value)
        assert type(distribution.to_external_repr(index)) is type(value)


SPACE = """
schema: 1
name: varied
extends: inceptionnext_t
every_stage: {mixer: varied}
stages:
  - mixer: {choice: [varied, pooling]}
  - mixer: {varied: {window: {choice: [null, 5]}, mode: mean, flag: {choice: [true, false]}}}
  - {}
  - mixer: {varied: {window: 3, padding: reflect, reduction: mean, cap: null}}
"""


def with_varied() -> MixerRegistry:
    point = entry_point("ours", "varied", "varied_options:Varied")
    return registry_of([point, *scan()], PluginRules())


def test_values_survive_a_search_its_journal_and_the_best_backbones_yaml() -> None:
    registry = with_varied()
    tree = resolve_extends(parse_yaml(SPACE, source="space.yaml"))
    space = SearchSpace(tree, registry)
    storage = JournalStorage(JournalFileBackend("journal.log"))
    sampler = optuna.samplers.RandomSampler(seed=0)
    study = optuna.create_study(storage=storage, study_name="s", sampler=sampler)
    seen: set[Any] = set()
    for _ in range(24):
        trial = study.ask()
        spec = space.suggest(trial)
        study.tell(trial, 1.0)
        text = dump_spec(spec)
        again = parse_spec(parse_yaml(text, source="best.yaml"), registry)
        assert again == spec
        assert again.digest == spec.digest
        recorded = json.loads(json.dumps(spec.model_dump(mode="json", by_alias=True)))
        assert BackboneSpec.model_validate(recorded) == spec
        (mixer,) = spec.stages[1].mixer
        seen.add((mixer.options["window"], mixer.options["flag"]))
        built = registry.build(mixer, Site(8, 7, 7))
        assert isinstance(built, Varied)
    assert seen == {(None, True), (None, False), (5, True), (5, False)}
    read = optuna.load_study(
        storage=JournalStorage(JournalFileBackend("journal.log")), study_name="s"
    )
    for before, after in zip(study.trials, read.trials, strict=True):
        assert after.params == before.params
        assert {k: type(v) for k, v in after.params.items()} == {
            k: type(v) for k, v in before.params.items()
        }
        assert after.distributions == before.distributions


def test_what_a_study_keeps_of_an_option_is_the_same_after_yaml() -> None:
    kept = {option.name: option.to_data() for option in read_options(Varied)}
    assert yaml.safe_load(yaml.safe_dump(kept)) == kept


def test_a_number_of_a_space_that_is_not_finite_is_answered_with_its_line() -> None:
    text = SPACE.replace("{choice: [null, 5]}", "{choice: [.nan, 5]}")
    tree = resolve_extends(parse_yaml(text, source="space.yaml"))
    with pytest.raises(SpecError, match=r"space.yaml:8:.*got nan; allowed: finite numbers"):
        SearchSpace(tree, with_varied())


class AllowingMembers(Varied):
    """`allows` gets the members of the Enum, as the constructor does."""

    @staticmethod
    def allows(site: Site, **options: Any) -> str | None:
        assert isinstance(options["size"], Enum)
        return "size: too large" if options["size"].name == "LARGE" and site.height == 1 else None


def test_allows_gets_the_members_of_an_enum_too() -> None:
    records = check_mixer(AllowingMembers, only=["allows", "shapes", "options"])
    assert Status.FAILED not in {record.status for record in records}, records

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from misbehaving import entry_point

from metaformer import SpecError
from metaformer.extends import resolve_extends
from metaformer.yaml_tree import parse_yaml
from mixers import Choice, Domain, FloatRange, IntRange, MixerRegistry, OptionValue
from mixers._registry import registry_of
from mixers.plugins_file import PluginRules
from mixers.scan import scan
from search.config.load import load_study
from search.space.search_space import SearchSpace


def space(text: str, registry: MixerRegistry, **settings: Any) -> SearchSpace:
    return SearchSpace(resolve_extends(parse_yaml(text, source="x.yaml")), registry, **settings)


def stage_space(stage: str, registry: MixerRegistry) -> SearchSpace:
    fields = dict(part.split(": ", 1) for part in stage.split("; "))
    base = {"depth": "1", "width": "16", "block": "metaformer", "mixer": "pooling", "norm": "none"}
    written = ", ".join(f"{key}: {value}" for key, value in {**base, **fields}.items())
    head = "name: x\nstem: {kernel_size: 2, stride: 2}\n"
    return space(f"{head}stages: [{{{written}}}]", registry)


def first(_name: str, domain: Domain) -> OptionValue:
    return domain.values[0] if isinstance(domain, Choice) else domain.low


def pick(**wanted: OptionValue) -> Callable[[str, Domain], OptionValue]:
    """Chooses `wanted` by the last part of a parameter's name, the first value elsewhere."""
    return lambda name, domain: wanted.get(name.rsplit(".", 1)[-1], first(name, domain))


def test_a_backbone_without_forms_is_a_space_of_one_point(registry: MixerRegistry) -> None:
    one = stage_space("mixer: {inception_dw: {band_kernel: 7}}", registry)
    assert one.parameters == {}
    assert one.backbone(first).stages[0].mixer[0].options["band_kernel"] == 7


def test_choice_and_range_open_any_field(registry: MixerRegistry) -> None:
    opened = stage_space(
        "depth: {choice: [1, 3]}; width: {range: [16, 64, 16]}; mlp: {ratio: {range: [2, 4, 0.5]}};"
        " block: {choice: [metanext, metaformer]}; layer_scale: {range: [1.0e-6, 1.0], log: true}",
        registry,
    )
    assert opened.parameters == {
        "stages.0.block": Choice("metanext", "metaformer"),
        "stages.0.depth": Choice(1, 3),
        "stages.0.width": IntRange(16, 64, 16),
        "stages.0.mlp.ratio": FloatRange(2.0, 4.0, 0.5),
        "stages.0.layer_scale": FloatRange(1e-6, 1.0, log=True),
    }
    spec = opened.backbone(pick(depth=3, width=48, ratio=2.5, block="metanext"))
    stage = spec.stages[0]
    assert (stage.depth, stage.width, stage.mlp.ratio, stage.block) == (3, 48, 2.5, "metanext")


def test_any_stands_for_every_mixer_with_its_own_options(registry: MixerRegistry) -> None:
    opened = stage_space("mixer: any", registry)
    movable = [name for name in registry.names() if name != "random_mixing"]
    assert opened.parameters["stages.0.mixer"] == Choice(*movable)
    assert opened.parameters["stages.0.separable_conv.kernel_size"] == Choice(3, 5, 7)
    assert opened.mixer_names == set(movable)
    spec = opened.backbone(pick(mixer="separable_conv", kernel_size=5))
    assert str(spec.stages[0].mixer[0]) == "separable_conv(expansion=1.0, kernel_size=5)"


def test_any_leaves_out_mixers_of_one_map_size_unless_it_names_them(
    registry: MixerRegistry,
) -> None:
    """What is measured at one size and trained at another could not keep their weights."""
    assert "random_mixing" not in stage_space("mixer: any", registry).mixer_names
    named = stage_space("mixer: {any: {random_mixing: {}}}", registry)
    assert {"random_mixing", "pooling"} <= named.mixer_names


@pytest.mark.parametrize("block", ["metanext", "bottleneck"])
def test_any_leaves_attention_out_of_blocks_that_do_not_normalise_before_it(
    block: str, registry: MixerRegistry
) -> None:
    space = stage_space(f"block: {block}; mixer: any", registry)
    assert not {"attention", "window_attention"} & space.mixer_names


def test_any_leaves_mixers_that_need_normalised_input_out_of_metanext_blocks(
    registry: MixerRegistry,
) -> None:
    metanext = stage_space("block: metanext; mixer: any", registry)
    assert not {"attention", "window_attention"} & metanext.mixer_names
    both = stage_space("block: {choice: [metanext, metaformer]}; mixer: any", registry)
    assert "attention" not in both.parameters["stages.0.metanext.mixer"].values  # type: ignore[union-attr]
    assert "attention" in both.parameters["stages.0.metaformer.mixer"].values  # type: ignore[union-attr]
    named = stage_space("block: metanext; mixer: {choice: [attention, pooling]}", registry)
    assert "attention" in named.mixer_names


@pytest.mark.parametrize("written", ["theirs", "strangers/theirs"])
def test_any_is_narrowed_by_either_name_of_a_third_partys_mixer(written: str) -> None:
    points = [entry_point("strangers", "theirs", "mixers.builtin.pooling:Pooling"), *scan()]
    registry = registry_of(points, PluginRules())
    opened = stage_space(f"mixer: {{any: {{{written}: {{pool_size: 9}}}}}}", registry)
    assert not [name for name in opened.parameters if "theirs" in name]
    mixer = opened.backbone(pick(mixer="strangers/theirs")).stages[0].mixer[0]
    assert (mixer.name, mixer.options) == ("strangers/theirs", {"pool_size": 9})


def test_any_can_be_narrowed_option_by_option(registry: MixerRegistry) -> None:
    opened = stage_space(
        "mixer: {any: {pooling: {pool_size: 3}, inception_dw: {band_kernel: {choice: [5, 7]}}}}",
        registry,
    )
    assert "stages.0.pooling.pool_size" not in opened.parameters
    assert opened.parameters["stages.0.inception_dw.band_kernel"] == Choice(5, 7)
    assert "stages.0.inception_dw.branch_ratio" in opened.parameters


def test_a_choice_of_mixers_searches_what_its_writing_leaves_open(registry: MixerRegistry) -> None:
    opened = stage_space(
        "mixer: {choice: [identity, {separable_conv: {expansion: 1.0}}]}", registry
    )
    assert opened.parameters == {
        "stages.0.mixer": Choice("identity", "separable_conv"),
        "stages.0.separable_conv.kernel_size": Choice(3, 5, 7),
    }


def test_the_places_of_a_pattern_are_searched_one_by_one(registry: MixerRegistry) -> None:
    opened = stage_space("depth: 4; mixer: [pooling, {choice: [identity, attention]}]", registry)
    assert set(opened.parameters) == {"stages.0.1.mixer", "stages.0.1.attention.head_width"}
    spec = opened.backbone(pick(mixer="attention"))
    assert [m.name for m in spec.stages[0].block_mixers] == ["pooling", "attention"] * 2


def test_a_choice_among_maps_goes_by_their_text_and_may_hold_choices(
    registry: MixerRegistry,
) -> None:
    opened = stage_space(
        "norm: {choice: [batch_norm, {kind: layer_norm, eps: {choice: [1.0e-6, 1.0e-5]}}]}",
        registry,
    )
    assert opened.parameters["stages.0.norm#1.eps"] == Choice(1e-6, 1e-5)
    label = opened.parameters["stages.0.norm"].values[1]  # type: ignore[union-attr]
    assert opened.backbone(pick(norm=label, eps=1e-5)).stages[0].norm.eps == 1e-5


@pytest.mark.parametrize(
    ("stage", "expected"),
    [
        (
            "depth: {choice: [1, many]}",
            "x.yaml:3:31: stages[0].depth: got 'many'; allowed: integer",
        ),
        ("depth: {choice: []}", "stages[0].depth.choice: got []; allowed: a list of one or more"),
        ("depth: {choice: [1, 1]}", "stages[0].depth.choice: 1 is listed twice"),
        ("layer_scale: {choice: [1, 1.0]}", "stages[0].layer_scale.choice: 1.0 is listed twice"),
        ("mlp: {gated: {choice: [true, 1]}}", "stages[0].mlp.gated.choice: 1 is listed twice"),
        (
            "mlp: {choice: [{ratio: 2, gated: true}, {gated: true, ratio: 2.0}]}",
            "stages[0].mlp.choice: {gated: true, ratio: 2.0} is listed twice",
        ),
        (
            "layer_scale: {choice: ['null', null]}",
            "'null' and null cannot be told apart in a record; allowed: one",
        ),
        ("depth: {range: [4, 2]}", "got [4, 2]; allowed: [low, high] with low at most high"),
        ("depth: {range: [2, 4, 0]}", "got [2, 4, 0]; allowed: a step above 0"),
        (
            "depth: {range: [8, 16, 3]}",
            "x.yaml:3:26: stages[0].depth: got [8, 16, 3]; the steps do not end at 16; allowed:"
            " [8, 14, 3] or [8, 17, 3]",
        ),
        ("depth: {range: [8, 10, 3]}", "the steps do not end at 10; allowed: [8, 11, 3]"),
        (
            "mlp: {ratio: {range: [0.5, 1.25, 0.5]}}",
            "the steps do not end at 1.25; allowed: [0.5, 1, 0.5] or [0.5, 1.5, 0.5]",
        ),
        ("depth: {range: [1, 4.0]}", "stages[0].depth: got [1, 4.0]; allowed here: integers"),
        ("depth: {range: [1, .inf]}", "got [1, inf]; allowed: [low, high] or [low, high, step]"),
        ("depth: {range: [2, 4, 1], log: true}", "allowed next to log: true: [low, high] with low"),
        ("layer_scale: {range: [0, 1], log: true}", "with low above 0, and no step"),
        ("depth: {range: [2, 4], log: 1}", "stages[0].depth.log: got 1; allowed: true, false"),
        (
            "depth: {range: [2, 4], step: 1}",
            "stages[0].depth: got step next to range; allowed: log",
        ),
        ("mlp: {choice: [{ratio: 2}], log: true}", "stages[0].mlp: got log next to choice;"),
        ("depth: {choice: [2], log: true}", "got log next to choice; allowed: nothing"),
        ("depth: {range: [0, 600]}", "stages[0].depth: got 0; allowed: integers from 1 to 512"),
        (
            "depth: {choise: [1, 2]}",
            "x.yaml:3:19: stages[0].depth: unknown form choise; allowed: choice, range; did you"
            " mean choice?",
        ),
        ("depth: {rnage: [1, 2], log: true}", "unknown form rnage; allowed: choice, range; did"),
        ("norm: {choise: [batch_norm]}", "x.yaml:3:74: stages[0].norm: unknown form choise;"),
        ("mlp: {gated: {choise: [true]}}", "stages[0].mlp.gated: unknown form choise;"),
        ("mixer: {choise: [pooling]}", "unknown form choise; allowed: any, choice; did you mean"),
        ("mixer: {pooling: {pool_size: {choise: [3]}}}", "mixer.pooling.pool_size: unknown form"),
        ("mixer: {any: [pooling]}", "stages[0].mixer.any: got ['pooling']; allowed: {mixer: {"),
        ("depth: {range: [1, two]}", "stages[0].depth: got [1, 'two']; allowed: [low, high]"),
        (
            "depth: {range: [1, 600]}",
            "stages[0].depth: got 600; allowed: integers from 1 to 512",
        ),
        ("mixer: {choice: [poling]}", "stages[0].mixer: got poling; unknown mixer"),
        ("mixer: {choice: [3]}", "stages[0].mixer: got 3; allowed: a mixer's name"),
        (
            "mixer: {choice: [{pooling: {pool_size: {choice: [3, 4]}}}]}",
            "stages[0].mixer.pool_size: got 4; allowed: 3, 5, 7, 9",
        ),
        (
            "mixer: {choice: [{pooling: {pool_size: 3}}, {pooling: {pool_size: 5}}]}",
            "stages[0].mixer: pooling is listed twice; put the choice into its options",
        ),
        ("mixer: {any: {poling: {}}}", "stages[0].mixer: got poling; unknown mixer"),
        ("depht: 3", "stages[0].depht: unknown key; allowed: depth, width"),
    ],
)
def test_a_mistake_anywhere_in_a_space_is_found_before_the_search(
    stage: str, expected: str, registry: MixerRegistry
) -> None:
    with pytest.raises(SpecError) as caught:
        stage_space(stage, registry)
    (problem,) = caught.value.problems
    assert expected in str(problem)


def test_a_mistake_in_every_stage_is_one_message_for_all_that_the_search_would_try(
    registry: MixerRegistry,
) -> None:
    text = "name: x\nstem: {kernel_size: 2, stride: 2}\n"
    text += (
        "every_stage: {block: metanext, mixer: any, norm: none, mlp: {ratio: {choice: [99, 2]}}}"
    )
    with pytest.raises(SpecError) as caught:
        space(f"{text}\nstages: [{{depth: 1, width: 8}}, {{depth: 1, width: 8}}]", registry)
    (problem,) = caught.value.problems
    assert "got 99; allowed: numbers from 0.125 to 16" in problem.message


HEADS = "name: x\nstem: {kernel_size: 2, stride: 2}\nstages: [{depth: 1, width: 8, "
HEADS += "block: metanext, mixer: pooling, norm: none}]\n"


def test_a_search_over_the_kind_of_head_keeps_what_belongs_to_an_mlp_head(
    registry: MixerRegistry,
) -> None:
    head = "head: {kind: {choice: [linear, mlp]}, ratio: {choice: [2, 3]}}"
    opened = space(HEADS + head, registry)
    assert opened.backbone(pick(kind="mlp", ratio=3)).head.ratio == 3
    assert opened.backbone(pick(kind="linear", ratio=3)).head.ratio == 4
    with pytest.raises(SpecError, match="head.ratio: belongs to an mlp head; got kind linear"):
        space(HEADS + "head: {kind: linear, ratio: 3}", registry)


@pytest.mark.parametrize("key", ["num_classes", "image_size"])
def test_what_the_study_decides_is_refused_in_the_space_but_not_in_its_base(
    key: str, registry: MixerRegistry
) -> None:
    fields = {"num_classes": 3, "image_size": 32}
    with pytest.raises(SpecError, match=f"x.yaml:4:1: {key}: .*; leave it out of the space"):
        space(f"{HEADS}{key}: 64", registry, fields=fields)
    under_way = space(f"{HEADS}{key}: 64", registry, fields=fields, any_mixers=["pooling"])
    assert under_way.backbone(first).num_classes == 3
    assert (
        space("extends: convnext_b_384", registry, fields=fields).backbone(first).image_size == 32
    )


@pytest.mark.parametrize(("device", "image_size"), [("cpu", 32), ("cpu", 64), ("cuda:0", 224)])
def test_the_default_spaces_hold_legal_backbones_only(
    device: str, image_size: int, registry: MixerRegistry
) -> None:
    study = load_study(
        None, {"budget": {"train": 900}, "measure": {"image_size": image_size}}, device=device
    )
    default = SearchSpace(study.space, registry, fields={"name": "x", "num_classes": 10})
    assert default.mixer_names == set(registry.names()) - {"random_mixing"}
    generator = random.Random(0)
    for _ in range(30):
        spec = default.backbone(lambda _name, domain: generator.choice(domain.values))  # type: ignore[union-attr]
        assert spec.num_classes == 10
        for stage in spec.stages:
            attention = {m.name for m in stage.mixer} & {"attention", "window_attention"}
            assert not attention or stage.block == "metaformer"


def test_kernels_of_the_cpu_spaces_are_not_larger_than_their_maps(registry: MixerRegistry) -> None:
    from metaformer.sites import map_sizes

    for image_size in (32, 64):
        overrides = {"budget": {"train": 900}, "measure": {"image_size": image_size}}
        study = load_study(None, overrides, device="cpu")
        default = SearchSpace(study.space, registry, fields={"name": "x"})
        sizes = map_sizes(default.backbone(first), image_size)
        for name, domain in default.parameters.items():
            if name.endswith(
                ("kernel_size", "band_kernel", "square_kernel", "pool_size", "window")
            ):
                assert max(domain.values) <= sizes[int(name.split(".")[1])], name  # type: ignore[union-attr]


def test_optuna_proposes_points_of_the_space(registry: MixerRegistry) -> None:
    opened = stage_space("width: {range: [16, 64, 16]}; mixer: any", registry)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    seen = set()
    for _ in range(20):
        trial = study.ask()
        spec = opened.suggest(trial)
        seen.add(spec.stages[0].mixer[0].name)
        assert set(trial.params) <= set(opened.parameters)
        assert trial.params["stages.0.width"] == spec.stages[0].width
    assert len(seen) > 3


@given(seed=st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_equal_choices_give_equal_backbones(seed: int, registry: MixerRegistry) -> None:
    study = load_study(None, {"budget": {"train": 900}}, device="cpu")
    default = SearchSpace(study.space, registry, fields={"name": "x"})

    def drawn() -> str:
        generator = random.Random(seed)
        return default.backbone(lambda _n, domain: generator.choice(domain.values)).digest  # type: ignore[union-attr]

    assert drawn() == drawn()


SCALES = "name: x\nstem: {kernel_size: 2, stride: 2}\n"
SCALES += "stages: [{depth: 1, width: 8, mixer: pooling, norm: none, "


@pytest.mark.parametrize("blocks", ["[metanext, metaformer]", "[metaformer, metanext]"])
@pytest.mark.parametrize("scales", ["[null, 1.0]", "[1.0, null]"])
def test_whether_a_space_is_legal_does_not_depend_on_the_order_of_its_choices(
    blocks: str, scales: str, registry: MixerRegistry
) -> None:
    text = f"block: {{choice: {blocks}}}, residual_scale: {{choice: {scales}}}}}]"
    opened = space(SCALES + text, registry)
    chosen = {"stages.0.block": "metaformer", "stages.0.residual_scale": 1.0}
    spec = opened.backbone(lambda name, _domain: chosen[name])
    assert spec.stages[0].residual_scale == 1.0


@pytest.mark.parametrize("values", ["[99, 2]", "[2, 99]"])
def test_a_value_that_is_legal_in_no_combination_is_refused(
    values: str, registry: MixerRegistry
) -> None:
    text = f"block: {{choice: [metanext, metaformer]}}, mlp: {{ratio: {{choice: {values}}}}}}}]"
    with pytest.raises(SpecError, match="got 99; allowed: numbers from 0.125 to 16"):
        space(SCALES + text, registry)


def test_the_data_say_how_many_channels_images_have(registry: MixerRegistry) -> None:
    with pytest.raises(SpecError, match="in_channels: images are read with three channels"):
        space(f"in_channels: 1\n{SCALES}block: metanext}}]", registry)

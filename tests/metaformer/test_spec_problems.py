from __future__ import annotations

import re
from pathlib import Path

import pytest
from written import VALID, load, problem_of

from metaformer import SpecError
from mixers import MixerRegistry


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "mixer: inception_dw",
            "mixer: inception_d",
            "my.yaml:10:12: stages[0].mixer: got inception_d; unknown mixer; installed: attention,"
            " conv, focal_modulation, identity, inception_dw, large_kernel_dw, pooling,"
            " random_mixing, separable_conv, window_attention;"
            " did you mean inception_dw?",
        ),
        (
            "mixer: inception_dw",
            "mixer: {inception_dw: {band_kernal: 7}}",
            "my.yaml:10:28: stages[0].mixer.band_kernal: unknown option; inception_dw takes"
            " square_kernel, band_kernel, branch_ratio, square_branch, bands; did you mean"
            " band_kernel?",
        ),
        (
            "mixer: inception_dw",
            "mixer: {inception_dw: {band_kernel: 8}}",
            "my.yaml:10:41: stages[0].mixer.band_kernel: got 8; allowed: 3, 5, 7",
        ),
        (
            "{window: 7}",
            "{window: seven}",
            "my.yaml:16:73: stages[1].mixer[2].window: got 'seven'; allowed: integers from 2 to 64",
        ),
        ("mixer: inception_dw", "mixer: 3", "my.yaml:10:12: stages[0].mixer: got 3; allowed: a"),
        ("mixer: inception_dw", "mixer: []", "my.yaml:10:12: stages[0].mixer: got an empty list"),
        ("    width: 96\n", "", "my.yaml:7:5: stages[0].width: missing"),
        (
            "width: 96",
            "widht: 96",
            "my.yaml:8:5: stages[0].widht: unknown key; allowed: depth, width, downsample, block,"
            " mixer, mlp, norm, activations, layer_scale, residual_scale; did you mean width?",
        ),
        (
            "depth: 3",
            "depth: three",
            "my.yaml:7:12: stages[0].depth: got 'three'; allowed: integer",
        ),
        (
            "depth: 3",
            "depth: 10000",
            "my.yaml:7:12: stages[0].depth: got 10000; allowed: integers from 1 to 512",
        ),
        (
            "block: metanext",
            "block: metanex",
            "my.yaml:9:12: stages[0].block: got 'metanex'; allowed: metanext, metaformer,"
            " bottleneck; did you mean metanext?",
        ),
        (
            "norm: batch_norm\n    layer",
            "norm: {kind: batchnorm}\n    layer",
            "my.yaml:11:18: stages[0].norm.kind: got 'batchnorm'; allowed: batch_norm, layer_norm,",
        ),
        (
            "head: {kind: linear}",
            "haed: {kind: linear}",
            "my.yaml:18:1: haed: unknown key; allowed: schema, name, num_classes, in_channels,",
        ),
        ("schema: 1", "schema: true", "my.yaml:1:9: schema: got true; allowed: 1"),
        ("schema: 1", "schema_version: 1", "my.yaml:1:1: schema_version: unknown key; allowed: "),
        ("mixer: inception_dw", "mixer: ''", "stages[0].mixer: got ''; unknown mixer"),
        ("schema: 1", "schema: 2", "my.yaml:1:9: schema: got 2; allowed: 1"),
        ("layer_scale: 1e-6", "layer_scale: .nan", "my.yaml:12:18: stages[0].layer_scale: got nan"),
        ("name: mine", "name: ../../etc/passwd", "my.yaml:2:7: name: got '../../etc/passwd'"),
        ("width: 192", "width: 192\n    residual_scale: 1.0\n    blok: 1", "did you mean block?"),
        ("stages:\n", "stages: 3\nx:\n", "my.yaml:6:9: stages: got 3; allowed: a list"),
        ("depth: 3", "depth: true", "stages[0].depth: got true; allowed: integers from 1 to 512"),
        ("depth: 3", "depth: 3.0", "stages[0].depth: got 3.0; allowed: integers from 1 to 512"),
        ("depth: 3", "depth: {a: 1}", "stages[0].depth: got {a: 1}; allowed: integers"),
        (
            "layer_scale: 1e-6",
            "layer_scale: 1000",
            "my.yaml:12:18: stages[0].layer_scale: got 1000; allowed: numbers above 0, up to 100",
        ),
        ("num_classes: 10", "drop_rate: 1", "drop_rate: got 1; allowed: numbers from 0, below 1"),
        (
            "stride: 4,",
            "stride: 4, activation: none,",
            "stem.activation: got 'none'; allowed: gelu, relu, silu, star_relu, squared_relu, null",
        ),
        ("stride: 4,", "stride: 4, bias: 1,", "stem.bias: got 1; allowed: true, false"),
        (
            "stride: 4,",
            "stride: 4, max_pool: 2,",
            "stem.max_pool: got 2; allowed: a map of keys and values or null",
        ),
        ("head: {kind: linear}", "head: linear", "head: got 'linear'; allowed: a map of keys and"),
        (
            "name: mine",
            "name: 2nd",
            "name: got '2nd'; allowed: letters, digits, _ . and -, beginning with a letter, up to"
            " 100 characters",
        ),
        ("name: mine", "name: 3", "name: got 3; allowed: letters, digits, _ . and -"),
        ("{kind: linear}", "{ratio: 3}", "my.yaml:18:15: head.ratio: belongs to an mlp head; got"),
        (
            "downsample: {norm: batch_norm}",
            "downsample: {kind: patch_merging, kernel_size: 3}",
            "my.yaml:5:48: stages[1].downsample.kernel_size: got 3; allowed in patch_merging: 2",
        ),
    ],
)
def test_a_mistake_is_answered_with_place_value_and_what_is_allowed(
    registry: MixerRegistry, old: str, new: str, expected: str
) -> None:
    assert old in VALID
    assert expected in problem_of(VALID.replace(old, new, 1), registry)


def test_all_mistakes_are_answered_at_once(registry: MixerRegistry) -> None:
    text = VALID.replace("depth: 3", "depth: x").replace("mixer: inception_dw", "mixer: none_such")
    text = text.replace("head: {kind: linear}", "head: {kind: round}")
    with pytest.raises(SpecError) as caught:
        load(text, registry)
    assert {problem.path for problem in caught.value.problems} == {
        "stages[0].depth",
        "stages[0].mixer",
        "head.kind",
    }


EVERY = """\
name: mine
stem: {kernel_size: 4, stride: 4}
every_stage: {block: metanext, mixer: pooling, norm: batch_norm}
stages: [{depth: 1, width: 8}, {depth: 1, width: 8}, {depth: 1, width: 8}]
"""


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("every_stage", "every_stages", "3:1: every_stages: unknown key; .*mean every_stage"),
        ("stages:", "stage:", "4:1: stage: unknown key; .*mean stages"),
        ("name:", "nam:", "1:1: nam: unknown key; .*mean name"),
        ("stride", "strid", "2:24: stem.strid: unknown key; .*mean stride"),
        ("block: metanext", "blok: metanext", r"3:15: stages\[0\].blok: unknown key; .*mean block"),
        ("block: metanext", "block: x", r"3:22: stages\[0\].block: got 'x'; allowed: metanext,"),
        ("pooling", "poling", r"3:39: stages\[0\].mixer: got poling; unknown mixer;"),
        ("pooling", "{pooling: {pool_size: 4}}", r"3:61: stages\[0\].mixer.pool_size: got 4"),
        ("norm: ", "layer_scale: 0, norm: ", r"3:61: stages\[0\].layer_scale: got 0; allowed"),
        ("{kernel_size: 4, stride: 4}", "{}", "2:7: stem: missing kernel_size, stride"),
        ("[{depth: 1, width: 8}", "[{}", r"4:10: stages\[0\]: missing depth, width$"),
    ],
)
def test_one_mistake_is_one_message(
    registry: MixerRegistry, old: str, new: str, expected: str
) -> None:
    with pytest.raises(SpecError) as caught:
        load(EVERY.replace(old, new, 1), registry)
    (problem,) = caught.value.problems
    assert re.match(f"my.yaml:{expected}", str(problem).splitlines()[0]), problem


def test_a_misspelt_extends_is_not_answered_with_all_that_it_would_have_given(
    registry: MixerRegistry,
) -> None:
    with pytest.raises(SpecError, match="mean extends") as caught:
        load("extend: inceptionnext_t\n", registry)
    assert len(caught.value.problems) == 1


def test_a_stage_beyond_those_of_the_base_says_what_it_lacks(registry: MixerRegistry) -> None:
    text = "extends: inceptionnext_t\nstages: [{}, {}, {}, {}, {depth: 2}, {depth: 3, width: 9}]"
    with pytest.raises(SpecError) as caught:
        load(text, registry)
    assert [str(problem).splitlines()[0] for problem in caught.value.problems] == [
        "my.yaml:2:26: stages[4]: missing width, block, mixer, norm; the base has 4 stages",
        "my.yaml:2:38: stages[5]: missing block, mixer, norm; the base has 4 stages",
    ]


def test_too_many_stages_are_counted(registry: MixerRegistry) -> None:
    text = EVERY.replace("[{", "[" + "{depth: 1, width: 8}, " * 14 + "{", 1)
    assert "stages: got 17 stages; allowed: 1 to 16" in problem_of(text, registry)


def test_a_study_in_place_of_a_backbone_is_recognised(registry: MixerRegistry) -> None:
    with pytest.raises(SpecError) as caught:
        load("name: x\nbudget: {train: 9}\nspace: {stages: []}\n", registry)
    assert str(caught.value).startswith("my.yaml:2:1: this is a study, and no backbone; give it to")
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize(
    ("old", "new", "place", "word"),
    [
        ("pooling", "any", "3:39: stages[0].mixer", "any"),
        ("pooling", "{any: {}}", "3:39: stages[0].mixer", "any"),
        ("pooling", "[identity, any]", "3:50: stages[0].mixer[1]", "any"),
        ("pooling", "{choice: [pooling]}", "3:39: stages[0].mixer", "choice"),
        (
            "pooling",
            "{pooling: {pool_size: {choice: [3]}}}",
            "3:61: stages[0].mixer.pooling.pool_size",
            "choice",
        ),
        ("depth: 1", "depth: {range: [1, 2]}", "4:18: stages[0].depth", "range"),
    ],
)
def test_the_forms_of_a_space_are_recognised_in_a_backbone(
    registry: MixerRegistry, old: str, new: str, place: str, word: str
) -> None:
    with pytest.raises(SpecError) as caught:
        load(EVERY.replace(old, new, 1), registry)
    (problem,) = caught.value.problems
    assert str(problem).startswith(f"my.yaml:{place}: {word} leaves open what a backbone must say")
    assert "search run STUDY.yaml" in problem.message


def test_a_mistake_in_an_extended_file_is_placed_in_that_file(registry: MixerRegistry) -> None:
    Path("base.yaml").write_text(VALID.replace("depth: 3", "depth: x"))
    assert "base.yaml:7:12: stages[0].depth" in problem_of("extends: base.yaml\n", registry)


def test_every_mistake_in_a_mixers_options_is_named_in_the_order_of_the_lines(
    registry: MixerRegistry,
) -> None:
    text = VALID.replace(
        "{window_attention: {window: 7}}", "{window_attention: {window: seven, windw: 7}}"
    )
    text = text.replace("depth: 3", "depth: three").replace("kind: linear", "kind: liner")
    problem = problem_of(text, registry)
    lines = re.findall(r"^my\.yaml:(\d+):(\d+): (\S+):", problem, re.MULTILINE)
    assert [path for _, _, path in lines] == [
        "stages[0].depth",
        "stages[1].mixer[2].window",
        "stages[1].mixer[2].windw",
        "head.kind",
    ]
    places = [(int(line), int(column)) for line, column, _ in lines]
    assert places == sorted(places)

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaformer import BackboneSpec, SpecError, dump_spec, load_spec, zoo_names
from metaformer.spec_yaml import parse_spec, resolve_mixers
from metaformer.yaml_tree import parse_yaml
from mixers import MixerRegistry, MixerSpec, load_registry

GOLDEN = Path(__file__).parents[1] / "golden"

VALID = """\
schema: 1
name: mine
num_classes: 10
stem: {kernel_size: 4, stride: 4, norm: batch_norm}
downsample: {norm: batch_norm}
stages:
  - depth: 3
    width: 96
    block: metanext
    mixer: inception_dw
    norm: batch_norm
    layer_scale: 1e-6
  - depth: 4
    width: 192
    block: metaformer
    mixer: [separable_conv, separable_conv, {window_attention: {window: 7}}]
    norm: {kind: layer_norm, eps: 1e-5}
head: {kind: linear}
"""


def load(text: str, registry: MixerRegistry) -> BackboneSpec:
    Path("my.yaml").write_text(text)
    return load_spec("my.yaml", registry)


def problem_of(text: str, registry: MixerRegistry) -> str:
    with pytest.raises(SpecError) as caught:
        load(text, registry)
    return str(caught.value)


def test_a_hybrid_file_becomes_a_spec_with_every_option_stated(registry: MixerRegistry) -> None:
    spec = load(VALID, registry)
    assert spec.stages[0].layer_scale == 1e-6
    assert spec.stages[0].mixer == (
        MixerSpec.of(
            "inception_dw",
            {
                "band_kernel": 11,
                "bands": "parallel",
                "branch_ratio": 0.125,
                "square_branch": True,
                "square_kernel": 3,
            },
        ),
    )
    window = spec.stages[1].mixer[2].options
    assert window == {"head_width": 32, "qkv_bias": True, "shifted": "auto", "window": 7}
    assert [mixer.name for mixer in spec.stages[1].block_mixers][3] == "separable_conv"


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


def test_a_head_that_becomes_linear_leaves_the_mlp_of_its_base(registry: MixerRegistry) -> None:
    head = load("extends: inceptionnext_t\nhead: {kind: linear}", registry).head
    assert (head.kind, head.ratio, head.hidden_norm.kind) == ("linear", 4.0, "none")
    words = problem_of("extends: inceptionnext_t\nhead: {kind: linear, ratio: 2}", registry)
    assert words.startswith("my.yaml:2:29: head.ratio: belongs to an mlp head; got kind linear")
    assert load("extends: inceptionnext_t\nhead: {ratio: 2}", registry).head.ratio == 2


def test_a_mistake_in_an_extended_file_is_placed_in_that_file(registry: MixerRegistry) -> None:
    Path("base.yaml").write_text(VALID.replace("depth: 3", "depth: x"))
    assert "base.yaml:7:12: stages[0].depth" in problem_of("extends: base.yaml\n", registry)


@pytest.mark.parametrize("name", zoo_names())
def test_every_zoo_file_survives_being_written_and_read(name: str, registry: MixerRegistry) -> None:
    spec = load_spec(name, registry)
    again = load(dump_spec(spec), registry)
    assert again == spec
    assert again.digest == spec.digest


def test_the_resolved_form_is_the_golden_one(registry: MixerRegistry) -> None:
    assert dump_spec(load(VALID, registry)) == (GOLDEN / "backbone.yaml").read_text()


def test_a_source_that_is_neither_file_nor_name_says_so(registry: MixerRegistry) -> None:
    with pytest.raises(SpecError, match="swin_tt: neither a file nor .* did you mean swin_t?"):
        load_spec("swin_tt", registry)


def test_specs_from_python_are_resolved_and_checked_too(registry: MixerRegistry) -> None:
    spec = load(VALID, registry)
    bare = spec.model_copy(
        update={
            "stages": tuple(
                stage.model_copy(update={"mixer": (MixerSpec("inception_dw"),)})
                for stage in spec.stages
            )
        }
    )
    assert resolve_mixers(bare, registry).stages[0].mixer == spec.stages[0].mixer
    wrong = spec.stages[0].model_copy(update={"mixer": (MixerSpec("nothing"),)})
    with pytest.raises(SpecError, match=r"stages\[0\].mixer: unknown mixer"):
        resolve_mixers(spec.model_copy(update={"stages": (wrong,)}), registry)


@st.composite
def specs(draw: st.DrawFn) -> str:
    """Valid backbones of all block forms, mixers and norms, as YAML text."""
    mixers = ["identity", "pooling", "{inception_dw: {band_kernel: 5}}", "[pooling, attention]"]
    norms = [
        "batch_norm",
        "none",
        "{kind: layer_norm, bias: false}",
        "{kind: group_norm, eps: 0.5}",
    ]
    lines = ["schema: 1", "name: drawn", "stem: {kernel_size: 3, stride: 2, padding: 1}"]
    lines += ["downsample: {norm: layer_norm}", "stages:"]
    for _ in range(draw(st.integers(1, 3))):
        fields = {
            "depth": draw(st.integers(1, 340)),
            "width": draw(st.integers(1, 4096)),
            "block": draw(st.sampled_from(["metanext", "metaformer"])),
            "mixer": draw(st.sampled_from(mixers)),
            "norm": draw(st.sampled_from(norms)),
            "layer_scale": draw(st.sampled_from(["null", "1e-6", "1"])),
        }
        lines.append(f"  - {{{', '.join(f'{key}: {value}' for key, value in fields.items())}}}")
    return "\n".join(lines)


@given(text=specs())
@settings(max_examples=60, deadline=None)
def test_reading_writing_and_reading_gives_the_same_spec(
    text: str, registry: MixerRegistry
) -> None:
    spec = parse_spec(resolve(text), registry)
    again = parse_spec(resolve(dump_spec(spec)), registry)
    assert again == spec
    assert again.digest == spec.digest


@given(
    key=st.sampled_from(["depth", "width", "block", "mixer", "norm", "mlp", "layer_scale"]),
    value=st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.lists(st.integers(), max_size=2)
    | st.dictionaries(st.text(min_size=1, max_size=4), st.integers(), max_size=2),
)
@settings(max_examples=200, deadline=None)
def test_any_value_in_any_field_is_taken_or_answered_with_its_place(
    key: str, value: object, registry: MixerRegistry
) -> None:
    from metaformer.yaml_tree import write_yaml

    stage = {"depth": 1, "width": 8, "block": "metanext", "mixer": "pooling", "norm": "none"}
    data = {"name": "x", "stem": {"kernel_size": 2, "stride": 2}, "stages": [{**stage, key: value}]}
    try:
        parse_spec(resolve(write_yaml(data)), registry)
    except SpecError as error:
        assert all(problem.mark is not None for problem in error.problems)
        assert all(problem.path.startswith("stages[0]") for problem in error.problems)


def resolve(text: str):  # type: ignore[no-untyped-def]
    from metaformer.extends import resolve_extends

    return resolve_extends(parse_yaml(text, source="x.yaml"))


def test_what_is_published_stays_as_it_is_whatever_the_projects_defaults_are() -> None:
    Path("plugins.toml").write_text(
        "schema = 1\n[mixers.inception_dw]\ndefaults = {band_kernel = 9}\n"
    )
    registry = load_registry()
    published = load_spec("inceptionnext_t", registry).stages[0].mixer[0]
    assert published.options["band_kernel"] == 11
    Path("own.yaml").write_text("extends: inceptionnext_t\nevery_stage: {mixer: inception_dw}\n")
    assert load_spec("own.yaml", registry).stages[0].mixer[0].options["band_kernel"] == 9
    Path("own.yaml").write_text("extends: inceptionnext_t\nnum_classes: 10\n")
    assert load_spec("own.yaml", registry).stages[0].mixer[0].options["band_kernel"] == 11

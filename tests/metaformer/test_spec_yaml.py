from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from written import VALID, load, problem_of

from metaformer import SpecError, dump_spec, load_spec, zoo_names
from metaformer.spec_yaml import parse_spec, resolve_mixers
from metaformer.yaml_tree import parse_yaml
from mixers import MixerRegistry, MixerSpec, load_registry

GOLDEN = Path(__file__).parents[1] / "golden"


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


def test_a_head_that_becomes_linear_leaves_the_mlp_of_its_base(registry: MixerRegistry) -> None:
    head = load("extends: inceptionnext_t\nhead: {kind: linear}", registry).head
    assert (head.kind, head.ratio, head.hidden_norm.kind) == ("linear", 4.0, "none")
    words = problem_of("extends: inceptionnext_t\nhead: {kind: linear, ratio: 2}", registry)
    assert words.startswith("my.yaml:2:29: head.ratio: belongs to an mlp head; got kind linear")
    assert load("extends: inceptionnext_t\nhead: {ratio: 2}", registry).head.ratio == 2


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

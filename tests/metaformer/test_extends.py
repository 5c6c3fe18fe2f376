from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from metaformer.errors import SpecError
from metaformer.extends import find_spec_file, mark_of, resolve_extends, zoo_names
from metaformer.yaml_tree import Node, read_yaml

BASE = """
norm: batch_norm
mlp: {kind: conv, ratio: 4}
downsample: {kernel_size: 2}
every_stage: {block: metanext, mixer: {inception_dw: {band_kernel: 9}}, mlp: {ratio: 4}}
stages:
  - {depth: 1, width: 8}
  - {depth: 2, width: 16, mlp: {ratio: 3}}
  - {depth: 3, width: 32}
"""


def resolved(text: str, **files: str) -> Node:
    for name, content in {"base": BASE, **files}.items():
        Path(f"{name}.yaml").write_text(content)
    Path("own.yaml").write_text(text)
    return resolve_extends(read_yaml("own.yaml"), chain=(Path("own.yaml").resolve(),))


def plain(text: str, **files: str) -> Any:
    return resolved(text, **files).plain()


def test_every_stage_fills_in_what_a_stage_leaves_out() -> None:
    stages = plain(BASE)["stages"]
    assert [stage["block"] for stage in stages] == ["metanext"] * 3
    assert [stage["mlp"]["ratio"] for stage in stages] == [4, 3, 4]
    assert "every_stage" not in plain(BASE)


def test_downsample_is_put_before_each_stage_but_the_first() -> None:
    stages = plain(BASE)["stages"]
    assert "downsample" not in stages[0]
    assert [stage["downsample"] for stage in stages[1:]] == [{"kernel_size": 2}] * 2


def test_maps_merge_and_scalars_replace() -> None:
    merged = plain("extends: base.yaml\nnorm: layer_norm\nmlp: {ratio: 2}")
    assert merged["norm"] == "layer_norm"
    assert merged["mlp"] == {"kind": "conv", "ratio": 2}


def test_the_new_list_says_how_many_stages_there_are() -> None:
    stages = plain("extends: base.yaml\nstages: [{}, {depth: 5}]")["stages"]
    assert [stage["depth"] for stage in stages] == [1, 5]
    assert [stage["width"] for stage in stages] == [8, 16]


def test_every_stage_of_a_file_reaches_the_stages_of_its_base() -> None:
    stages = plain("extends: base.yaml\nevery_stage: {mixer: pooling, mlp: {ratio: 1}}")["stages"]
    assert [stage["mixer"] for stage in stages] == ["pooling"] * 3
    assert [stage["mlp"]["ratio"] for stage in stages] == [1, 1, 1]


def test_a_stage_of_a_file_overrides_its_every_stage() -> None:
    text = "extends: base.yaml\nevery_stage: {mixer: pooling}\nstages: [{}, {mixer: identity}, {}]"
    assert [stage["mixer"] for stage in plain(text)["stages"]] == ["pooling", "identity", "pooling"]


def test_downsample_of_a_file_reaches_the_stages_of_its_base() -> None:
    stages = plain("extends: base.yaml\ndownsample: {kernel_size: 3, padding: 1}")["stages"]
    assert "downsample" not in stages[0]
    assert stages[2]["downsample"] == {"kernel_size": 3, "padding": 1}


def test_a_mixer_replaces_as_a_whole() -> None:
    text = "extends: base.yaml\nstages: [{mixer: {pooling: {pool_size: 5}}}]"
    assert plain(text)["stages"][0]["mixer"] == {"pooling": {"pool_size": 5}}


def test_a_chain_of_files_is_followed_beside_each_file() -> None:
    Path("deep").mkdir()
    Path("deep/middle.yaml").write_text("extends: ../base.yaml\nnorm: layer_norm")
    assert plain("extends: deep/middle.yaml")["norm"] == "layer_norm"


def test_a_value_keeps_the_place_where_it_was_written() -> None:
    node = resolved("extends: base.yaml\nstages: [{}, {}, {width: 7}]")
    assert str(mark_of(node, ("stages", 2, "width"))) == "own.yaml:2:26"
    assert mark_of(node, ("stages", 2, "depth")).source.endswith("base.yaml")


def test_a_circle_is_refused_with_the_files_on_it() -> None:
    with pytest.raises(SpecError, match="goes round in a circle .*own.yaml -> a.yaml -> own.yaml"):
        plain("extends: a.yaml", a="extends: own.yaml")


@pytest.mark.parametrize("text", ["extends: [base.yaml]", "extends: 3", "extends: {}"])
def test_extends_takes_a_name_or_a_path_only(text: str) -> None:
    with pytest.raises(SpecError, match="allowed: a known backbone or a path"):
        plain(text)


def test_an_unknown_base_names_the_nearest_known_backbone() -> None:
    with pytest.raises(SpecError, match="own.yaml:1:10: extends: .*did you mean inceptionnext_t"):
        plain("extends: inceptionnext_y")


def test_a_path_that_leads_nowhere_names_the_nearest_file_beside_it() -> None:
    Path("deep").mkdir()
    Path("deep/middle.yaml").write_text("a: 1")
    with pytest.raises(SpecError) as caught:
        find_spec_file("deep/midle.yaml")
    assert str(caught.value) == "deep/midle.yaml: no such file; did you mean deep/middle.yaml?"
    with pytest.raises(SpecError, match=r"^none/at_all: no such file$"):
        find_spec_file("none/at_all")
    with pytest.raises(SpecError, match=r"own.yaml:1:10: extends: bse.yaml: no such .* base.yaml"):
        plain("extends: bse.yaml")
    with pytest.raises(SpecError, match="deep: is a folder; allowed: a YAML file or a known"):
        find_spec_file("deep")


def test_a_misspelt_name_is_answered_with_the_nearest_few() -> None:
    with pytest.raises(SpecError) as caught:
        find_spec_file("swin_tt")
    words = "neither a file nor a known backbone (`search zoo` lists all)"
    assert str(caught.value) == f"swin_tt: {words}; did you mean swin_t, swin_s or swin_b?"
    Path("my_net.yaml").write_text("a: 1")
    with pytest.raises(SpecError, match="did you mean my_net.yaml"):
        find_spec_file("my_net")


@pytest.mark.parametrize("form", ["{choice: [{ratio: 1}]}", "{range: [1, 2], log: true}"])
def test_a_choice_or_a_range_replaces_as_a_whole(form: str) -> None:
    over = plain(f"extends: base.yaml\nmlp: {form}")["mlp"]
    assert next(iter(over)) in ("choice", "range")
    assert "ratio" not in over
    under = plain("extends: open.yaml\nmlp: {ratio: 2}", open=f"mlp: {form}")["mlp"]
    assert under == {"ratio": 2}


def test_a_head_that_becomes_linear_loses_what_belongs_to_an_mlp_head() -> None:
    base = "head: {kind: mlp, norm: layer_norm, ratio: 3, pre_logits: pooled}"
    head = plain("extends: b.yaml\nhead: {kind: linear, activation: relu}", b=base)["head"]
    assert head == {"kind": "linear", "norm": "layer_norm", "activation": "relu"}
    assert plain("extends: b.yaml\nhead: {norm: none}", b=base)["head"]["ratio"] == 3


def test_every_zoo_name_is_found_and_a_path_too() -> None:
    assert {"inceptionnext_t", "convnext_t", "convformer_s18", "swin_t"} <= set(zoo_names())
    for name in zoo_names():
        assert find_spec_file(name).stem == name
    Path("mine.yaml").write_text("a: 1")
    assert find_spec_file("mine.yaml") == Path("mine.yaml")


@pytest.mark.parametrize(
    "text",
    [
        "stages: 3",
        "stages: [3, x]",
    ],
)
def test_wrong_shapes_are_left_for_the_validation_to_name(text: str) -> None:
    plain(text)


@pytest.mark.parametrize("key", ["every_stage", "downsample"])
def test_what_is_said_of_all_stages_must_be_a_map_even_where_nothing_uses_it(key: str) -> None:
    with pytest.raises(SpecError, match=rf":1:\d+: {key}: must be a map of keys and values"):
        plain(f"{key}: 3")


def test_a_stages_own_downsample_is_merged_into_the_one_said_of_all() -> None:
    text = (
        "downsample: {kernel_size: 3, stride: 2, norm: layer_norm}\n"
        "stages: [{}, {downsample: {stride: 4}}, {downsample: null}]"
    )
    stages = plain(text)["stages"]
    assert stages[1]["downsample"] == {"kernel_size": 3, "stride": 4, "norm": "layer_norm"}
    assert stages[2]["downsample"] is None


def test_a_name_too_long_for_a_file_is_unknown() -> None:
    with pytest.raises(SpecError, match="neither a file nor a known backbone"):
        find_spec_file("a" * 300)

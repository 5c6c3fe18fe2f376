from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from search.cli import main

STAGE = "{depth: 1, width: 8, block: metanext, mixer: pooling, norm: none}"
VALID = f"name: mine\nstem: {{kernel_size: 4, stride: 4}}\nstages:\n  - {STAGE}\n"


def spec(*arguments: str) -> Result:
    result = CliRunner().invoke(main, ["spec", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def spec_of(content: str | bytes) -> Result:
    Path("my.yaml").write_bytes(content.encode() if isinstance(content, str) else content)
    return spec("my.yaml")


def test_a_known_backbone_is_printed_stage_by_stage() -> None:
    result = spec("inceptionnext_t")
    assert result.exit_code == 0
    assert "inceptionnext_t at 224 pixels" in result.output
    assert "stage 2   384×14×14" in result.output
    assert "9 metanext blocks" in result.output
    options = "band_kernel=11, bands=parallel, branch_ratio=0.125, square_branch=True"
    assert f"inception_dw({options}, square_kernel=3)" in result.output
    assert "28,055,680" in result.output
    assert "4,188.63 M" in result.output


def test_json_holds_shapes_options_params_macs_and_the_resolved_spec() -> None:
    result = spec("swin_t_inception", "--json", "--image-size", "112")
    data = json.loads(result.output)
    assert data["image_size"] == 112
    assert [stage["shape"] for stage in data["stages"]] == [
        [96, 28, 28],
        [192, 14, 14],
        [384, 7, 7],
        [768, 4, 4],
    ]
    names = [mixer["name"] for mixer in data["stages"][0]["mixer"]]
    assert names == ["inception_dw", "window_attention"]
    assert data["stages"][0]["mixer"][1]["options"]["window"] == 7
    parts = [data["stem"], *data["stages"], data["head"]]
    assert sum(part["params"] for part in parts) == data["params"]
    assert sum(part["macs"] for part in parts) == data["macs"]
    assert data["spec"]["stages"][0]["depth"] == 2


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (VALID.replace("pooling", "poolin"), "my.yaml:4:50: stages[0].mixer: got poolin; unknown"),
        (
            VALID.replace("pooling", "{pooling: {pool_sise: 3}}"),
            "stages[0].mixer.pool_sise: unknown option; pooling takes pool_size; did you mean",
        ),
        (VALID.replace("depth: 1", "depth: one"), "stages[0].depth: got 'one'; allowed: integer"),
        (
            VALID.replace("depth: 1", "depth: 10000"),
            "stages[0].depth: got 10000; allowed: integers from 1 to 512",
        ),
        (VALID + "name: again\n", "my.yaml:5:1: name: given twice, first in line 1"),
        (VALID + "\thead: 1\n", "my.yaml:5:1: found a tab; YAML indents with spaces"),
        (VALID + "a0: &a [x,x,x,x]\n" + "b: [*a]\n" * 1, "a0: unknown key"),
        ("a: [" + "1," * 6_000_000 + "]", "bytes of YAML; allowed: 256 KiB"),
        ("[" * 5000, "my.yaml:1:34: nested too deeply"),
        ("name: !!python/object:os.system x\n", "tags are not allowed"),
        (b"\x7fELF\x02\x01\x00\xff\xfe", "my.yaml:1:8: not text: YAML must be UTF-8"),
        ("", "my.yaml:1:1: the file is empty"),
        ("- 1\n- 2\n", "my.yaml:1:1: must be a map of keys and values"),
        (
            "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
            + "".join(f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10)),
            "over 20000 values, aliases counted as often as they are used",
        ),
        (
            VALID.replace("width: 8", "width: 32768").replace("depth: 1", "depth: 512"),
            "my.yaml:4:5: stages[0]: its weights and tables take 16384.3 GiB, all of the backbone",
        ),
    ],
)
def test_a_bad_file_is_one_message_with_its_place_and_exit_code_2(
    content: str | bytes, expected: str
) -> None:
    result = spec_of(content)
    assert result.exit_code == 2, result.output
    assert expected in result.output
    assert result.output.startswith("error: my.yaml:")


def test_a_name_that_is_neither_file_nor_backbone_names_the_nearest() -> None:
    result = spec("inceptionnext_y")
    assert result.exit_code == 2
    names = "inceptionnext_t, inceptionnext_s or inceptionnext_b"
    assert f"(`search zoo` lists all); did you mean {names}?" in result.output
    assert result.output.count("\n") == 1


def test_an_image_that_is_too_small_is_answered() -> None:
    result = spec("inceptionnext_t", "--image-size", "8")
    assert result.exit_code == 2
    words = "stages[2].downsample: leaves nothing of a map of 1×1, for images of 8 pixels"
    assert result.output.startswith(f"error: --image-size: got 8; {words}; allowed: 32 pixels")
    result = spec_of("extends: inceptionnext_t\nimage_size: 8\n")
    assert f"inceptionnext_t.yaml:6:13: {words}" in result.output
    assert "--image-size" not in result.output


def test_a_size_that_was_asked_for_is_not_blamed_for_a_spec_that_never_stands() -> None:
    Path("my.yaml").write_text(VALID.replace("pooling", "{inception_dw: {branch_ratio: 0.02}}"))
    result = spec("my.yaml", "--image-size", "64")
    assert result.output.startswith("error: my.yaml:4:50: stages[0].mixer: block 0: inception_dw")


def test_a_study_is_one_message_that_says_where_it_belongs() -> None:
    result = spec_of("budget: {train: 9}\nmeasure: {}\ntrain: {}\nspace: {stages: []}\n")
    assert result.exit_code == 2
    assert result.output.startswith("error: my.yaml:1:1: this is a study, and no backbone; give it")
    assert result.output.count("my.yaml") == 1


def test_blocks_are_counted_in_the_singular_too() -> None:
    assert "  1 metanext block\n" in spec_of(VALID).output


def test_a_mistake_in_a_plugins_file_is_answered_with_its_place() -> None:
    Path("plugins.toml").write_text("schema = 3\n")
    result = spec("inceptionnext_t")
    assert result.exit_code == 2
    assert result.output == "error: plugins.toml:1:1: schema: got 3; allowed: 1\n"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("width: 8,", "width: 4, mlp: {ratio: 0.125},", "my.yaml:4:39: stages[0].mlp.ratio: got"),
        ("pooling", "{inception_dw: {branch_ratio: 0.02}}", "my.yaml:4:50: stages[0].mixer: block"),
        ("stride: 4}", "stride: 4, padding: 0}\nimage_size: 4", "stages[1].downsample: leaves"),
        ("width: 8", "width: 16", "my.yaml:5:23: stages[1].width: got 8 after 16"),
        ("pooling", "{separable_conv: {expansion: 0.25}}", None),
    ],
)
def test_parts_that_do_not_go_together_are_answered_with_their_place(
    old: str, new: str, expected: str | None
) -> None:
    second = STAGE.replace("depth: 1,", "depth: 1, downsample: {},")
    two = VALID + f"  - {second if 'image_size' in new else STAGE}\n"
    result = spec_of(two.replace(old, new, 1))
    assert result.exit_code == (0 if expected is None else 2), result.output
    if expected is not None:
        assert expected in result.output
        assert result.output.startswith("error: my.yaml:")


def test_masks_that_would_not_fit_the_memory_are_counted() -> None:
    stage = STAGE.replace("pooling", "{window_attention: {window: 64}}").replace("1,", "2,")
    text = f"name: mine\nimage_size: 4096\nstem: {{kernel_size: 1, stride: 1}}\nstages: [{stage}]"
    result = spec_of(text)
    assert result.exit_code == 2, result.output
    assert "stages[0]: its weights and tables take" in result.output


def test_maps_beyond_all_memory_are_answered() -> None:
    stage = STAGE.replace("pooling", "attention").replace("width: 8", "width: 32768")
    text = f"name: mine\nimage_size: 8192\nstem: {{kernel_size: 1, stride: 1}}\nstages: [{stage}]"
    result = spec_of(text)
    assert result.exit_code == 2, result.output


def test_only_mixers_that_blocks_have_are_printed() -> None:
    result = spec_of(VALID.replace("pooling", "[identity, attention]"))
    assert "identity()" in result.output
    assert "attention" not in result.output

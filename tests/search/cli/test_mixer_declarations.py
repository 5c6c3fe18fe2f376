"""Declarations of mixers about sites and devices, in every command that reads them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from declaring import NEEDS_CUDA, allowing, declaring_source
from installed import install
from tiny import BASELINE, STUDY, write_study

from search.cli import main

COUNTED = STUDY.replace("budget: {train: 1}", "budget: {params: 100000}")
ANY = COUNTED.replace("{choice: [identity, pooling]}", "any")
ON_CPU = ("--device", "cpu")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Installs `strangers/mine` with these declarations."""

    def add(declared: str, **parts: str) -> None:
        name, distribution = "mine", "strangers"
        folder = tmp_path / name
        folder.mkdir()
        source = declaring_source(declared, **parts)
        install(folder, name, source, distribution=distribution)
        monkeypatch.syspath_prepend(str(folder))
        monkeypatch.delitem(sys.modules, f"{distribution}_{name}", raising=False)

    return add


def search(*arguments: str) -> Result:
    result = CliRunner().invoke(main, list(arguments))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def backbone(mixer: str) -> None:
    Path("mine.yaml").write_text(BASELINE.replace("mixer: pooling", f"mixer: {mixer}"))


def planned(text: str) -> dict[str, Any]:
    write_study(text)
    result = search("plan", "tiny.yaml", *ON_CPU, "--measurements", "0", "--json")
    assert result.exit_code in (0, 3), result.output
    plan: dict[str, Any] = json.loads(result.stdout)
    return plan


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("'too few channels' if site.channels < 8 else None", "too few channels"),
        ("f'{groups} of 4' if groups == 2 else None", "2 of 4"),
        ("f'a map of {site.height}' if site.height == 112 else None", "a map of 112"),
    ],
)
def test_a_site_that_is_not_allowed_is_answered_in_its_place(
    installed: Any, answer: str, words: str
) -> None:
    installed(allowing(answer), constructor="raise RuntimeError('never called')")
    backbone("{mine: {groups: 2}}")
    result = search("spec", "mine.yaml")
    assert result.exit_code == 2, result.output
    assert f"stages[0].mixer: block 0: strangers/mine: {words}" in result.output
    assert "mine.yaml:4:" in result.output


@pytest.mark.parametrize("answer", ["True", "1 / 0", "''", "exit(0)", "unknown"])
def test_an_allows_with_a_mistake_is_its_authors(installed: Any, answer: str) -> None:
    installed(allowing(answer))
    backbone("mine")
    result = search("spec", "mine.yaml")
    assert result.exit_code == 4, result.output
    assert "strangers/mine of strangers 1.0" in result.output
    assert "allows" in result.output


def test_show_says_why_the_mixer_does_not_go_to_the_site(installed: Any) -> None:
    installed(allowing("None if site.width % 7 else 'no weeks'"))
    assert "does not go there: no weeks" in search("mixers", "show", "mine").output
    assert "params" in search("mixers", "show", "mine", "--map-size", "8").output


def test_a_mixer_without_a_docstring_shows_none(installed: Any) -> None:
    installed("")
    output = search("mixers", "show", "mine").output
    assert "no documentation" in output
    assert "Base class" not in output


def test_candidates_that_a_mixer_does_not_allow_are_never_tried(installed: Any) -> None:
    mistake = "assert site.channels != 6, 'never called'"
    installed(allowing("'six' if site.channels == 6 else None"), constructor=mistake)
    text = COUNTED.replace("[identity, pooling]", "[mine]").replace("[4, 6, 8]", "[4, 6]")
    write_study(text)
    result = search("run", "tiny.yaml", *ON_CPU, "--trials", "9")
    assert result.exit_code == 0, result.output
    lines = Path("runs/tiny/trials.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert {record["spec"]["stages"][0]["width"] for record in records} == {4}
    assert {record["state"] for record in records} == {"COMPLETE"}


def test_a_plan_says_what_any_leaves_out_and_counts_what_is_not_allowed(installed: Any) -> None:
    installed(allowing("f'{site.height} rows' if site.height < 56 else None"))
    left_out = planned(ANY)["mixers"]["left_out"]
    assert "allows no site in 50 candidates drawn; most often: 4 rows" in left_out["strangers/mine"]
    text = COUNTED.replace("[identity, pooling]", "[pooling, mine]")
    assert 20 < planned(text)["candidates"]["unbuildable"] < 80  # of 100, every second one


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what is said without CUDA")
def test_a_mixer_that_requires_cuda_is_counted_but_neither_measured_nor_searched(
    installed: Any,
) -> None:
    installed(NEEDS_CUDA)
    backbone("mine")
    assert search("spec", "mine.yaml").exit_code == 0
    assert "requires: cuda" in search("mixers", "show", "mine").output
    write_study(COUNTED.replace("[identity, pooling]", "[pooling, mine]"))
    with_baseline = f"search: {{trials: 3, baselines: [{Path('mine.yaml').resolve()}]}}"
    write_study(COUNTED.replace("search: {trials: 3}", with_baseline), "baseline.yaml")
    for arguments in (
        ("measure", "mine.yaml", "--batch-size", "2", "--image-size", "8", *ON_CPU),
        ("run", "tiny.yaml", *ON_CPU),
        ("plan", "tiny.yaml", *ON_CPU),
        ("run", "baseline.yaml", *ON_CPU),
    ):
        result = search(*arguments)
        assert result.exit_code == 4, (arguments, result.output)
        words = "strangers/mine of strangers 1.0 requires cuda; the device is cpu"
        assert result.output.count(words) == 1
        assert "Traceback" not in result.output
    assert not Path("runs/tiny/journal.log").exists()


@pytest.mark.parametrize("value", ["'cuda'", "('gpu',)", "['cuda']", "('cuda', 3)"])
def test_a_requirement_that_there_is_not_is_answered_with_those_that_there_are(
    installed: Any, value: str
) -> None:
    installed(f"requires = {value}")
    backbone("mine")
    result = search("spec", "mine.yaml")
    assert result.exit_code == 4
    assert "requires: got" in result.output
    assert 'allowed: a tuple of "cuda"' in result.output or 'allowed: "cuda"' in result.output


def test_checks_on_a_device_that_is_not_here_are_one_message() -> None:
    result = search("mixers", "check", "pooling", "--device", "cuda:99")
    assert result.exit_code == 4
    assert "device: got cuda:99; allowed: auto, cpu" in result.output


def test_a_mixer_that_requires_cuda_passes_what_can_be_checked_without(installed: Any) -> None:
    installed(NEEDS_CUDA)
    result = search("mixers", "check", "mine", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert "SKIPPED  requires cuda, checked on cpu" in result.output

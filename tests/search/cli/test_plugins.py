"""In a folder with a hostile plugins.toml no command runs its code before consent."""

from __future__ import annotations

import shutil
from pathlib import Path

import own_mixer
import pytest
import timm
from click.testing import CliRunner, Result
from consent import agree
from tiny import BASELINE, STUDY, write_study

import metaformer.timm_models  # noqa: F401  # registers mf_spec
from metaformer import SpecError
from search.cli import main

RULES = 'schema = 1\n[local]\nmine = "mine.py:Mine"\n[trainers]\nmine = "mine.py:train"\n'
MINE = own_mixer.CODE + "\n\ndef train(model, data, config, context):\n"
MINE += "    for _ in context.epochs_left():\n        context.end_epoch(model, 1.0, {})\n"
OWN = STUDY.replace("[identity, pooling]", "[mine, pooling]").replace(
    "{train: 1}", "{params: 100000000}"
)


def command(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


@pytest.fixture
def study_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """runs/tiny with trials of a local mixer, in a folder whose mixer has become hostile."""
    Path("mine.py").write_text(MINE)
    Path("plugins.toml").write_text(RULES)
    write_study(OWN.replace("[mine, pooling]", "[mine]"))
    Path("spec.yaml").write_text(BASELINE.replace("pooling", "mine"))
    kept = tmp_path_factory.getbasetemp() / "with_local_mixer"
    if not kept.exists():
        arguments = ["run", "tiny.yaml", "--trials", "1", "--out", str(kept), "--trainer", "mine"]
        result = command(*arguments, "--plugins", "plugins.toml")
        assert result.exit_code == 0, result.output
    shutil.copytree(kept / "tiny", "runs/tiny")
    agree()  # to what is then replaced
    Path("mine.py").write_text("open('executed', 'w').close()\n" + MINE)
    return Path("runs/tiny")


COMMANDS = [
    "mixers",
    "mixers --json",
    "mixers --verify",
    "mixers show mine",
    "mixers check mine",
    "spec spec.yaml",
    "plan tiny.yaml --measurements 0",
    "plan --trainer mine tiny.yaml --measurements 0",
    "run tiny.yaml --out fresh",
    "run study_of_pooling.yaml --trainer mine --out fresh",
    "resume runs/tiny",
    "rerun runs/tiny 0",
    "export runs/tiny --to folder --retrain",
    "measure spec.yaml",
    "measure runs/tiny",
    "fork runs/tiny",
    "status runs/tiny",
    "doctor --device cpu",
]


@pytest.mark.slow
def test_verify_runs_none_of_it(study_folder: Path) -> None:
    assert study_folder.exists()
    assert command("mixers", "--verify").exit_code == 0
    assert not Path("executed").exists()


@pytest.mark.parametrize("line", [line for line in COMMANDS if "--verify" not in line])
def test_no_command_runs_code_of_the_folder_before_consent(line: str, study_folder: Path) -> None:
    write_study(STUDY.replace("{train: 1}", "{params: 100000000}"), "study_of_pooling.yaml")
    result = command(*line.split())
    assert not Path("executed").exists()
    assert result.exit_code in (0, 2, 3, 4), result.output
    assert "Traceback" not in result.output
    if not line.startswith(("status", "doctor")):
        assert "search plugins trust" in result.output
    if "mine" in line or line.split()[0] in ("rerun", "export", "resume") or "spec" in line:
        assert result.exit_code in (2, 4), result.output
    assert study_folder.exists()


def test_from_python_mf_spec_runs_none_of_it_either(study_folder: Path) -> None:
    assert study_folder.exists()
    with pytest.raises(SpecError, match="untrusted: plugins.toml of the working directory"):
        timm.create_model("mf_spec", spec="spec.yaml")
    assert not Path("executed").exists()


def test_after_consent_spec_says_so_first_and_runs_it(study_folder: Path) -> None:
    assert study_folder.exists()
    result = command("plugins", "trust")
    assert result.exit_code == 0, result.output
    assert not Path("executed").exists()
    file, _, digest = result.output.splitlines()[0].split("  ")
    assert (file, len(digest)) == ("mine.py:Mine", len("sha256 ") + 64)
    assert "mine.py:train  " in result.output
    result = command("spec", "spec.yaml")
    assert result.exit_code == 0, result.output
    assert result.stderr == "local/mine is run from mine.py:Mine, as plugins.toml says\n"
    assert Path("executed").exists()


def test_a_named_file_is_consent_in_another_directory_too(
    study_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("mine.py").write_text(MINE)
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    arguments = ("resume", f"../{study_folder}", "--trials", "2", "--allow-drift")
    assert command(*arguments).exit_code == 2  # no such trainer here
    result = command(*arguments, "--plugins", "../plugins.toml")
    assert result.exit_code == 0, result.output
    assert "trainer local/mine is run from mine.py:train, as ../plugins.toml says" in result.stderr


def test_code_that_is_left_out_of_any_is_said(study_folder: Path) -> None:
    assert study_folder.exists()
    text = OWN.replace("{choice: [mine, pooling]}", "any").replace("name: tiny", "name: other")
    write_study(text, "any.yaml")
    result = command("plan", "any.yaml", "--measurements", "0")
    assert result.exit_code == 0, result.output
    words = "plugins.toml: left out until you agree to run it (search plugins trust): local/mine, "
    assert f"{words}trainer local/mine\n" in result.stderr
    assert not Path("executed").exists()


@pytest.mark.parametrize(
    ("text", "arguments", "code", "words"),
    [
        ("schema = 1\n", [], 0, "plugins.toml names no code; nothing needs consent"),
        ("schema = 1\n", ["other.toml"], 2, "FILE: got other.toml; allowed: a file called"),
        ("schema = 1\n", ["gone/plugins.toml"], 2, "gone/plugins.toml: no such file"),
        ("schema = 1\n[local]\nx = 'no.py:X'\n", [], 2, "plugins.toml:3:1: local.x: no such file"),
        ('schema = 1\n[local]\nx = "a\\u001b[2J.py:X"\n', [], 2, "allowed: 'FILE.py:CLASS'"),
        (None, [], 2, "plugins.toml: no such file"),
    ],
)
def test_what_cannot_be_trusted_is_answered(
    text: str | None, arguments: list[str], code: int, words: str
) -> None:
    if text is not None:
        Path("plugins.toml").write_text(text)
    result = command("plugins", "trust", *arguments)
    assert result.exit_code == code, result.output
    assert words in result.output
    assert "\x1b" not in result.output


def test_consent_that_cannot_be_kept_is_exit_code_4(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("mine.py").write_text(MINE)
    Path("plugins.toml").write_text(RULES)
    Path("occupied").touch()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(Path("occupied").resolve()))
    result = command("plugins", "trust")
    assert result.exit_code == 4
    assert "trusted.json: " in result.stderr
    assert "--plugins plugins.toml" in result.stderr

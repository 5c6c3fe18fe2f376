"""What is wrong in the settings, the study file or the data of a `search run` is one message."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from running import run
from tiny import STUDY, write_images, write_study

from search.cli import main


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        ([], 2, "a budget is needed: --budget-throughput N"),
        (["--budget-throughput", "0"], 2, "got '0'; allowed: images/s above 0"),
        (["--budget-throughput", "-3"], 2, "got '-3'; allowed: images/s above 0"),
        (["--budget-throughput", "nan"], 2, "got 'nan'; allowed: images/s above 0"),
        (["--budget-throughput", "many"], 2, "got 'many'; allowed: images/s above 0"),
        (["--budget-throughput", "9", "--device", "gpu"], 2, "got 'gpu'; allowed: auto, cpu, cuda"),
        (
            ["--budget-throughput", "9", "--device", "cuda:99"],
            4,
            "device: got cuda:99; allowed: auto, cpu",
        ),
        (["tiny.yaml", "--devices", "99"], 4, "error: device: got cuda:99; allowed: auto, cpu"),
        (["tiny.yaml", "--devices", "3-1"], 2, "got '3-1'; allowed: CUDA devices, such as 0-3"),
        (["tiny.yaml", "--devices", "0", "--device", "cpu"], 2, "give one of both"),
        (["tiny.yaml", "--workers", "0"], 2, "0 is not in the range x>=1"),
        (["--budget-throughput", "9", "--data", "digit"], 2, "error: --data: got 'digit'; allowed"),
        (["--budget-throughput", "9", "--data", "folder:no"], 2, "no such folder: no"),
        (["--budget-throughput", "9", "--time-limit", "soon"], 2, "such as 90s, 15m, 2h"),
        (["--budget-throughput", "9", "--trials", "0"], 2, "0 is not in the range x>=1"),
        (
            ["--budget-throughput", "9", "--precision", "fp16", "--device", "cpu"],
            2,
            "got fp16 on a CPU",
        ),
        (["none.yaml"], 2, "none.yaml: no such study file"),
        (["tiny.yml"], 2, "tiny.yml: no such study file; did you mean tiny.yaml?"),
        (["--budget-throughput", "9", "--out", "/proc/none"], 4, "/proc/none"),
        (["--budget-throughput", "9", "--plugins", "no.toml"], 2, "no.toml: no such file"),
    ],
)
def test_a_bad_setting_is_one_message_and_a_documented_exit_code(
    arguments: list[str], code: int, expected: str
) -> None:
    write_study()
    result = run(*arguments)
    assert result.exit_code == code, result.output
    assert expected in result.output


@pytest.mark.parametrize(
    "arguments",
    [["none.yaml"], ["--data", "digts"], ["--plugins", "none.toml"], ["--data", "folder:none"]],
)
def test_a_slip_is_answered_before_torch_is_imported(arguments: list[str]) -> None:
    without_torch = "import sys; sys.modules['torch'] = None; from search.cli import main; main()"
    command = [sys.executable, "-c", without_torch, "run", "--budget-throughput", "9", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "[identity, pooling]",
            "[identity, poling]",
            "tiny.yaml:13:34: stages[0].mixer: got poling",
        ),
        ("[4, 6, 8]", "[4, six]", "tiny.yaml:11:27: stages[0].width: got 'six'; allowed: integer"),
        ("stem:", "stme:", "tiny.yaml:8:3: stme: unknown key"),
        ("width:", "{", "tiny.yaml:"),
    ],
)
def test_a_bad_study_file_is_one_message_with_its_place(old: str, new: str, expected: str) -> None:
    result = run(str(write_study(STUDY.replace(old, new))))
    assert result.exit_code == 2, result.output
    assert expected in result.output
    assert not Path("runs/tiny/study.yaml").exists()


@pytest.mark.usefixtures("rejecting")
@pytest.mark.parametrize(
    ("spoil", "code", "expected"),
    [
        (lambda root: None, 3, "No candidate met the budget"),
        (
            lambda root: (root / "train" / "a" / "0.png").write_bytes(b"x"),
            3,
            "skipped 1 unreadable images: ",
        ),
        (
            lambda root: [(root / "train" / "a" / f"{i}.png").write_bytes(b"x") for i in range(4)],
            2,
            "4 of 240 images cannot be read",
        ),
        (lambda root: (root / "train" / "c").mkdir(), 2, "no images of class c in "),
        (
            lambda root: [file.unlink() for file in root.rglob("*.png")],
            2,
            "no images of class a in ",
        ),
    ],
)
def test_data_that_cannot_be_used_are_named(
    spoil: Callable[[Path], object], code: int, expected: str
) -> None:
    write_images(Path("pictures"), 40)
    spoil(Path("pictures"))
    text = STUDY.replace("data: digits", "data: 'folder:pictures'")
    result = run(str(write_study(text)), "--trials", "1")
    assert result.exit_code == code, result.output
    assert expected in " ".join(result.output.split())


@pytest.mark.usefixtures("rejecting")
@pytest.mark.parametrize(
    ("content", "arguments", "expected"),
    [
        (STUDY + "mixers: [pooling]\n", (), "tiny.yaml:16:1: mixers: is written by `search run`"),
        (STUDY + "mixers: 5\n", (), "tiny.yaml:16:1: mixers: is written by `search run`"),
        (STUDY + "data: digits\n", (), "tiny.yaml:16:1: data: is written by `search run`"),
        (STUDY.replace("search: {trials: 3}", "search:"), ("--trials", "1"), "search: got null;"),
        (STUDY.replace("budget: {train: 1}", "budget: 900"), (), "budget: got 900; allowed: a map"),
        (STUDY.replace("{train: 1}", "{train: null}"), (), "tiny.yaml:3:9: budget: limits nothing"),
        (STUDY.replace("batch_size: 256", "batch_size: 1"), (), "train.batch_size: got 1; allowed"),
        (STUDY, ("--mode", "infer"), "--mode says which step must reach --budget-throughput"),
    ],
)
def test_a_setting_that_would_vanish_is_refused(
    content: str, arguments: tuple[str, ...], expected: str
) -> None:
    result = run(str(write_study(content)), *arguments)
    assert result.exit_code == 2, result.output
    assert expected in result.output


@pytest.mark.parametrize(
    "command",
    [
        ["run", "pipe"],
        ["plan", "pipe", "--measurements", "0"],
        ["mixers", "--plugins", "pipe"],
    ],
)
def test_a_pipe_in_the_place_of_a_file_is_refused_and_not_waited_for(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 2
    assert "pipe: got a pipe" in result.output

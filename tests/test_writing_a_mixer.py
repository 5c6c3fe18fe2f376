"""docs/writing_a_mixer.md is followed literally: its files are saved, its commands are run."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
from fresh_environment import FreshEnvironment, build_wheel

from mixers.conformance import CHECK_NAMES
from mixers.skeleton import write_skeleton

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "writing_a_mixer.md").read_text()
# the name of the file that a block is to be saved as, if any; its language; the block
BLOCKS = re.findall(
    r"(?:Save as `([^`]+)`:\n\n)?^```(\w+)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE
)


def commands() -> list[str]:
    return [line for _, language, text in BLOCKS if language == "sh" for line in text.splitlines()]


def test_every_block_that_can_be_saved_names_its_file_and_every_command_is_one() -> None:
    saved = [name for name, _, _ in BLOCKS if name]
    assert len(saved) == TEXT.count("Save as `") == TEXT.count("ave as `")
    assert [Path(name).suffix for name in saved] == [".py", ".yaml", ".yaml", ".py", ".toml"]
    assert {line.split()[0] for line in commands()} == {"search", "pip", "python"}
    for _, language, text in BLOCKS:
        if language == "toml":
            tomllib.loads(text)


@pytest.mark.slow
def test_the_page_leads_from_nothing_to_a_searched_mixer(tmp_path: Path) -> None:
    fresh = FreshEnvironment.create(tmp_path / "venv", build_wheel(ROOT, tmp_path / "dist"))
    said: dict[str, str] = {}
    for name, language, text in BLOCKS:
        if name:
            Path(name).write_text(text)
        elif language == "sh":
            for line in text.splitlines():
                done = fresh.run("bash", "-c", line)
                assert done.returncode == 0, f"{line}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
                said[line] = done.stdout
    assert re.search(r"^my-mixer/my_mixer +my-mixer +0\.1\.0 +active$", said["search mixers"], re.M)
    assert (
        f"{len(CHECK_NAMES)} PASSED" not in said["search mixers check my_mixer"]
    )  # nothing is declared of FX
    assert " 0 FAILED" in said["search mixers check my_mixer"]
    assert " 0 FAILED" in said["search mixers check difference"]
    assert "passed" in said["python -m pytest my-mixer"]
    assert "my-mixer/my_mixer(kernel_size=9, strength=1.0)" in said["search spec hybrid.yaml"]
    assert "kernel_size = 7 " in said["search mixers show my_mixer"]
    assert "searched: numbers from 0.5 to 2" in said["search mixers show my_mixer"]
    records = Path("runs/with_mine/trials.jsonl").read_text().splitlines()
    tried = [record for record in map(json.loads, records) if record["confirms"] is None]
    assert len(tried) == 3
    for record in tried:
        assert "my-mixer/my_mixer" in [mixer["name"] for mixer in record["mixers"]]
    assert "my-mixer/my_mixer" in Path("runs/with_mine/best.yaml").read_text()


def test_what_the_page_shows_of_the_package_is_in_the_package(tmp_path: Path) -> None:
    folder = write_skeleton("my_mixer", tmp_path)
    shown = [text for name, language, text in BLOCKS if language == "toml" and not name]
    assert shown[0] in (folder / "pyproject.toml").read_text()
    test = (folder / "tests/test_my_mixer.py").read_text()
    assert "@parametrize_with_checks(MyMixer)\ndef test_the_mixer_keeps_the_contract(" in test

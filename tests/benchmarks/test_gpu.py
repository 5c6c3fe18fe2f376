"""The single call: what it writes, and what it survives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gpu
import pytest
from gpu_sections import SECTIONS, Found, Run, Section


def call(folder: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    file = folder / "result.json"
    code = gpu.main(["--device", "cpu", "--quick", "--out", str(file), *arguments])
    return code, json.loads(file.read_text())


def replaced(monkeypatch: pytest.MonkeyPatch, *sections: Section) -> None:
    monkeypatch.setattr(gpu, "SECTIONS", sections)


def good(_run: Run) -> Found:
    yield "figure", 1.0
    yield "none", float("nan")


def bad(_run: Run) -> Found:
    yield "before", 2.0
    raise RuntimeError("an illegal memory access")


def test_a_section_that_raises_does_not_stop_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replaced(monkeypatch, Section("bad", 0.5, bad), Section("good", None, good))
    code, result = call(tmp_path)
    assert code == 1
    assert result["sections"]["bad"]["found"] == {"before": 2.0}
    where = [line.strip() for line in result["sections"]["bad"]["traceback"] if "File" in line]
    assert where[0].startswith('File "benchmarks/gpu.py"')
    assert result["sections"]["bad"]["error"] == "RuntimeError: an illegal memory access"
    assert result["sections"]["good"]["found"] == {"figure": 1.0, "none": None}


def test_what_was_found_is_on_disk_before_the_section_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def looking(_run: Run) -> Found:
        yield "first", 1
        yield "on disk by then", json.loads((tmp_path / "result.json").read_text())["sections"]

    replaced(monkeypatch, Section("looking", None, looking))
    _, result = call(tmp_path)
    assert result["sections"]["looking"]["found"]["on disk by then"] == {
        "looking": {"found": {"first": 1}}
    }


def test_a_section_ends_with_its_share_and_what_did_not_fit_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replaced(monkeypatch, Section("long", 0.0, good), Section("good", None, good))
    _, result = call(tmp_path)
    assert result["sections"]["long"]["found"] == {"figure": 1.0}
    assert result["left_out"] == ["long: what follows figure"]


def test_a_section_that_hangs_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hanging(_run: Run) -> Found:
        yield "figure", 1.0
        while True:
            pass

    monkeypatch.setattr(gpu, "GRACE_SECONDS", 0.05)
    replaced(monkeypatch, Section("hanging", 0.0001, hanging), Section("good", None, good))
    monkeypatch.setattr("gpu.time.monotonic", lambda: 0.0)  # no share ends by itself
    _, result = call(tmp_path)
    assert result["sections"]["hanging"]["found"] == {"figure": 1.0}
    assert result["left_out"] == ["hanging: interrupted after 0 s"]
    assert result["sections"]["good"]["found"]["figure"] == 1.0


def test_sections_that_no_time_is_left_for_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replaced(monkeypatch, Section("good", None, good))
    _, result = call(tmp_path, "--seconds", "0")
    assert result["sections"] == {}
    assert result["left_out"] == ["good: no time"]


def test_the_file_is_named_after_the_device_and_the_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "RESULTS", tmp_path)
    replaced(monkeypatch, Section("good", None, good))
    assert gpu.main(["--device", "cpu", "--quick"]) == 0
    [file] = tmp_path.iterdir()
    day = json.loads(file.read_text())["provenance"]["date"]
    assert file.name.startswith("cpu_")
    assert file.name.endswith(f"_{day}.json")


@pytest.mark.slow
def test_every_section_runs_on_a_cpu(tmp_path: Path) -> None:
    names = [section.name for section in SECTIONS if section.name != "study_compiled"]
    code, result = call(tmp_path, "--seconds", "36000", "--sections", *names)
    assert [result["sections"][name].get("error") for name in names] == [None] * len(names)
    assert code == 0
    assert result["left_out"] == []
    assert all(result["sections"][name]["found"] for name in names)

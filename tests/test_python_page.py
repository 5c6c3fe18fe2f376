"""The page of the Python API is executed, block by block, in one folder."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "python.md"


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.slow
def test_every_block_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (study,) = blocks("yaml")
    Path("small.yaml").write_text(study, encoding="utf-8")
    names: dict[str, object] = {"__name__": "page"}
    for block in blocks("python"):
        exec(compile(block, str(PAGE), "exec"), names)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].split()[:2] == ["0", "COMPLETE"]
    assert printed[2].startswith("done ")
    assert (Path("exported") / "model.safetensors").is_file()
    assert printed[-1].startswith("{'kernel_size'")

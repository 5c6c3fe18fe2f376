"""A distribution with entry points that cannot be read keeps no library from being imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from installed import install, mixer_source

from mixers.child_process import module_command, module_environment

DAMAGES: dict[str, Callable[[Path], object]] = {
    "a line without =": lambda path: path.write_text("[metaformer.mixers]\nmine\n"),
    "another group": lambda path: path.write_text("[some.group]\nmine\n"),
    "not UTF-8": lambda path: path.write_bytes(b"[metaformer.mixers]\n\xff = a:B\n"),
    "a pipe": lambda path: (path.unlink(), os.mkfifo(path)),
    "a link to itself": lambda path: (path.unlink(), path.symlink_to(path)),
}
# what the command line and its workers do first, and then what libraries do while imported
CODE = """
import sys
from mixers.hide_damaged import hide_damaged_distributions
hidden = hide_damaged_distributions()
import importlib.metadata, json, pydantic
from mixers.scan import damaged
class Model(pydantic.BaseModel):
    number: int
names = [one.name for one in importlib.metadata.distributions()]
assert "metaformer-search" in names
importlib.metadata.entry_points(group="any")
print(json.dumps([[one.name for one in hidden], "strangers" in names, [d.name for d in damaged()]]))
"""


@pytest.mark.parametrize("damage", DAMAGES)
def test_libraries_find_every_distribution_but_the_damaged(damage: str, tmp_path: Path) -> None:
    install(tmp_path, "mine", mixer_source())
    DAMAGES[damage](tmp_path / "strangers-1.0.dist-info/entry_points.txt")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        env=environment, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    hidden, found, listed = json.loads(done.stdout)
    assert hidden == ["strangers"]
    assert not found
    assert listed == ([] if damage == "another group" else ["strangers"])


def test_a_child_process_imports_torch_beside_a_damaged_distribution(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "mine", mixer_source())
    (tmp_path / "strangers-1.0.dist-info/entry_points.txt").write_text("[a]\nb\n")
    (tmp_path / "imports_torch.py").write_text(
        "import sys, torch\nassert sys.argv[1:] == ['-m', 'x']\nassert __name__ == '__main__'\n"
    )
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    subprocess.run(
        module_command("imports_torch", "-m", "x"), env=module_environment(), check=True, timeout=60
    )


def test_what_is_whole_is_left_as_it_is() -> None:
    code = CODE.replace("hidden = ", "before = sys.meta_path[:]; hidden = ")
    code += "assert sys.meta_path == before and not hidden"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)

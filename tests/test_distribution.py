"""The wheel: what it holds, and that it works away from the repository."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(ROOT)],
        check=True,
        capture_output=True,
    )
    return next(folder.glob("*.whl"))


@pytest.mark.slow
def test_the_wheel_holds_the_three_packages_with_their_data(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"mixers/py.typed", "metaformer/py.typed", "search/py.typed"} <= names
    assert {f"metaformer/zoo/{f.name}" for f in (ROOT / "metaformer/zoo").glob("*.yaml")} <= names
    assert {f"search/defaults/{f.name}" for f in (ROOT / "search/defaults").glob("*.yaml")} <= names
    assert not {name for name in names if name.startswith(("tests", "benchmarks"))}
    assert any(name.endswith("licenses/LICENSE") for name in names)


@pytest.mark.slow
def test_the_installed_wheel_works_from_any_folder(wheel: Path, tmp_path: Path) -> None:
    """In an environment that sees the dependencies of this one and the wheel alone."""
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    python = venv / "bin" / "python"
    subprocess.run([str(python), "-m", "pip", "install", "--no-deps", str(wheel)], check=True)
    packages = next((venv / "lib").glob("python*/site-packages"))
    dependencies = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "dependencies.pth").write_text("\n".join(dependencies) + "\n")
    code = (
        "import json, mixers, metaformer, search\n"
        "from mixers import load_registry\n"
        "homes = [module.__path__[0] for module in (mixers, metaformer, search)]\n"
        "print(json.dumps([homes, load_registry().names(), metaformer.zoo_names()]))"
    )
    done = subprocess.run(
        [str(python), "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    homes, names, zoo = json.loads(done.stdout)
    assert all(home.startswith(str(venv)) for home in homes)
    assert "inception_dw" in names
    assert "swin_t_inception" in zoo
    script = subprocess.run(
        [str(venv / "bin" / "search"), "spec", "swin_t_inception", "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(script.stdout)["name"] == "swin_t_inception"

"""The wheel: what it holds, and that it works away from the repository."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
from fresh_environment import FreshEnvironment, build_wheel

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(ROOT, tmp_path_factory.mktemp("wheel") / "dist")


@pytest.mark.slow
def test_the_wheel_holds_the_three_packages_with_their_data(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"mixers/py.typed", "metaformer/py.typed", "search/py.typed"} <= names
    assert {f"metaformer/zoo/{f.name}" for f in (ROOT / "metaformer/zoo").glob("*.yaml")} <= names
    assert {
        f"search/config/defaults/{f.name}" for f in (ROOT / "search/config/defaults").glob("*.yaml")
    } <= names
    assert not {name for name in names if name.startswith(("tests", "benchmarks", "examples"))}
    assert {f"mixers/skeleton/{f.name}" for f in (ROOT / "mixers/skeleton").glob("*.txt")} <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)


@pytest.mark.slow
def test_the_installed_wheel_works_from_any_folder(wheel: Path, tmp_path: Path) -> None:
    """In an environment that sees the dependencies of this one and the wheel alone."""
    fresh = FreshEnvironment.create(tmp_path / "venv", wheel)
    code = (
        "import json, mixers, metaformer, search\n"
        "from mixers import load_registry\n"
        "homes = [module.__path__[0] for module in (mixers, metaformer, search)]\n"
        "print(json.dumps([homes, load_registry().names(), metaformer.zoo_names()]))"
    )
    done = fresh.run(str(fresh.python), "-c", code, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    homes, names, zoo = json.loads(done.stdout)
    assert all(home.startswith(str(fresh.path)) for home in homes)
    assert "inception_dw" in names
    assert "swin_t_inception" in zoo
    script = fresh.search("spec", "swin_t_inception", "--json")
    assert script.returncode == 0, script.stderr
    assert json.loads(script.stdout)["name"] == "swin_t_inception"

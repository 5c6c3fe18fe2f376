"""The package that `search mixers new` writes."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import pytest

from mixers import InputError, MixerSpec, Site
from mixers._registry import registry_of
from mixers.conformance import CHECK_NAMES, Status, check_mixer
from mixers.plugins_file import read_plugin_rules
from mixers.scan import scan
from mixers.skeleton import write_skeleton


def test_it_has_a_module_tests_a_readme_and_a_pyproject(tmp_path: Path) -> None:
    folder = write_skeleton("wavy_mixer", tmp_path)
    assert folder == tmp_path / "wavy-mixer"
    assert sorted(str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file()) == [
        "README.md",
        "pyproject.toml",
        "tests/test_wavy_mixer.py",
        "wavy_mixer/__init__.py",
    ]
    for file in folder.rglob("*.*"):
        assert "$" not in file.read_text(), file


def test_its_one_entry_point_names_the_class(tmp_path: Path) -> None:
    folder = write_skeleton("wavy_mixer", tmp_path)
    project = tomllib.loads((folder / "pyproject.toml").read_text())
    assert project["project"]["name"] == "wavy-mixer"
    assert project["project"]["entry-points"] == {
        "metaformer.mixers": {"wavy_mixer": "wavy_mixer:WavyMixer"}
    }
    assert "class WavyMixer(nn.Module):" in (folder / "wavy_mixer/__init__.py").read_text()
    assert "metaformer-search" in project["project"]["dependencies"]
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == ["wavy_mixer"]


def test_its_mixer_keeps_the_contract() -> None:
    write_skeleton("wavy_mixer", Path())
    Path("plugins.toml").write_text(
        "schema = 1\n[local]\nwavy_mixer = 'wavy-mixer/wavy_mixer/__init__.py:WavyMixer'\n"
    )
    registry = registry_of(scan(), read_plugin_rules("plugins.toml"))
    records = check_mixer(registry["wavy_mixer"].mixer_class)
    assert not [record for record in records if record.status is Status.FAILED]
    assert sum(record.status is Status.PASSED for record in records) > 20
    mixer = registry.build(MixerSpec.of("wavy_mixer", {"kernel_size": 7}), Site(4, 9, 9))
    assert mixer.receptive_field == (7, 7)


def test_its_tests_are_those_of_the_suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_skeleton("wavy_mixer", tmp_path)
    monkeypatch.syspath_prepend(folder)
    names: dict[str, object] = {}
    exec((folder / "tests/test_wavy_mixer.py").read_text(), names)
    (test,) = (value for name, value in names.items() if name.startswith("test_"))
    (mark,) = test.pytestmark  # type: ignore[attr-defined]
    assert len(mark.args[1]) == len(CHECK_NAMES)
    del sys.modules["wavy_mixer"]


@pytest.mark.parametrize(
    "name", ["x", "Wavy", "wavy-mixer", "9wavy", "wavy mixer", "class", "ä" * 3]
)
def test_a_name_that_cannot_be_a_modules_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"NAME: got '{name}'; allowed: small letters, digits"):
        write_skeleton(name, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("pooling", "pooling is a built-in mixer"),
        ("torch", "a module torch is there already"),
        ("mixers", "a module mixers is there already"),
        ("json", "a module json is there already"),
        ("tests", "a module tests is there already"),
        ("scikit_learn", "a package scikit-learn is installed already"),
    ],
)
def test_a_name_that_would_hide_something_is_refused(name: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"NAME: {words}; choose another name"):
        write_skeleton(name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "wavy-mixer").mkdir()
    with pytest.raises(InputError, match="wavy-mixer is there already; choose another name or"):
        write_skeleton("wavy_mixer", tmp_path)
    assert not list((tmp_path / "wavy-mixer").iterdir())

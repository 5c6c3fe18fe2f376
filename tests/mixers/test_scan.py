"""Damaged distributions: each is listed with its reason and stops no other mixer."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from installed import install, mixer_source

from mixers import MixerState, PluginsFileError, load_registry
from mixers._registry import registry_of
from mixers.plugins_file import PluginRules
from mixers.scan import GROUP, damaged, scan

POINTS = "[metaformer.mixers]\nmine = strangers_mine:Mixer\n"


def write(name: str, content: bytes | str) -> Callable[[Path], None]:
    data = content if isinstance(content, bytes) else content.encode()
    return lambda info: (info / name).write_bytes(data) and None


def in_place_of(name: str, make: Callable[[Path], object]) -> Callable[[Path], None]:
    def damage(info: Path) -> None:
        (info / name).unlink()
        make(info / name)

    return damage


# how a distribution is damaged, the state of what it gives, and a part of the reason
DAMAGES: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "empty METADATA": (write("METADATA", ""), "broken", "METADATA has no Name"),
    "no METADATA": (lambda info: (info / "METADATA").unlink(), "broken", ""),
    "no version": (write("METADATA", "Name: strangers\n"), "broken", "METADATA has no Version"),
    "no name": (write("METADATA", "Version: 1.0\n"), "broken", "METADATA has no Name"),
    "METADATA is binary": (write("METADATA", b"\xff\xfe\x00"), "broken", ""),
    "METADATA is a folder": (in_place_of("METADATA", Path.mkdir), "broken", ""),
    "a line without =": (
        write("entry_points.txt", "[metaformer.mixers]\nmine\n"), "broken", "NAME = MODULE:CLASS",
    ),
    "an open section": (
        write("entry_points.txt", "[metaformer.mixers\nmine = a:B\n"), "broken", "no section",
    ),
    "entry points that are binary": (
        write("entry_points.txt", b"\xff[metaformer.mixers]\n"), "broken", "utf-8",
    ),
    "no name of a mixer": (
        write("entry_points.txt", "[metaformer.mixers]\n = a:B\n"), "incompatible", "is no name",
    ),
    "a reserved word": (
        write("entry_points.txt", POINTS.replace("mine =", "any =")), "incompatible", "is a word",
    ),
    "a version that is none": (
        write("METADATA", "Name: strangers\nVersion: banana\n"), "active", "",
    ),
    "a requirement that is none": (
        write("METADATA", "Name: strangers\nVersion: 1.0\nRequires-Dist: metaformer-search ((\n"),
        "active",
        "",
    ),
    "RECORD is binary": (write("RECORD", b"\xff\x00"), "active", ""),
    "direct_url.json is a list": (write("direct_url.json", "[1]"), "active", ""),
    "direct_url.json is nested": (write("direct_url.json", "[" * 100_000), "active", ""),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_distribution_is_listed_with_its_reason_and_stops_no_other(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "mine", mixer_source())
    spoil, state, reason = DAMAGES[damage]
    spoil(tmp_path / "strangers-1.0.dist-info")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    registry = load_registry()
    theirs = [entry for entry in registry.all_entries() if entry.distribution == "strangers"]
    assert [registry.state(entry)[0] for entry in theirs] == [state]
    assert reason in registry.state(theirs[0])[1]
    assert "pooling" in registry.entries
    if state == "active":
        json.dumps(theirs[0].fingerprint())


def test_a_version_that_another_shadows_on_the_path_gives_no_mixers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        install(tmp_path / name, name, mixer_source())
    places = [str(tmp_path / "first"), str(tmp_path / "second")]
    monkeypatch.setattr(sys, "path", [*sys.path, *places])
    theirs = [point.name for point in scan() if point.dist and point.dist.name == "strangers"]
    assert theirs == ["first"]
    assert not damaged()


def test_a_distribution_called_local_is_not_taken_for_the_projects_own_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "mine", mixer_source(), distribution="local")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    registry = registry_of(scan(GROUP), PluginRules())
    assert registry.refused["local/mine"].state is MixerState.INCOMPATIBLE


def test_a_mixer_has_one_table_of_rules_under_whichever_of_its_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "mine", mixer_source())
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    both = "[mixers.mine]\nenabled = false\n[mixers.'Strangers/mine']\nenabled = true\n"
    Path("plugins.toml").write_text(f"schema = 1\n{both}")
    with pytest.raises(PluginsFileError, match="means strangers/mine, as mine does"):
        load_registry()
    Path("plugins.toml").write_text("schema = 1\n[mixers.'Strangers/mine']\nenabled = false\n")
    assert load_registry().refused["strangers/mine"].state is MixerState.DISABLED

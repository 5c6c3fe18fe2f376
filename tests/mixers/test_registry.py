from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Annotated

import pytest
from misbehaving import entry_point
from packaging.specifiers import SpecifierSet
from torch import nn

from mixers import (
    Choice,
    MixerRegistry,
    MixerSpec,
    OptionError,
    PluginError,
    SignatureError,
    Site,
    UnknownMixerError,
    load_registry,
)
from mixers._registry import registry_of
from mixers.plugins_file import PluginRules
from mixers.scan import GROUP

BUILT_IN = [
    "attention",
    "focal_modulation",
    "identity",
    "inception_dw",
    "large_kernel_dw",
    "pooling",
    "random_mixing",
    "separable_conv",
    "window_attention",
]


class Somebodys(nn.Module):
    def __init__(self, site: Site, *, size: Annotated[int, Choice(1, 2)] = 1) -> None:
        super().__init__()


class OutOfContract(nn.Module):
    def __init__(self, site: Site, size: int = 1) -> None:
        super().__init__()


not_a_class = 3


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> str:
    """This module under a name that entry points can import."""
    monkeypatch.setitem(sys.modules, "somebodys_mixers", sys.modules[__name__])
    return "somebodys_mixers"


def registry_with(*points: EntryPoint, rules: PluginRules | None = None) -> MixerRegistry:
    own = entry_points(group=GROUP)
    return registry_of([*own, *points], rules or PluginRules())


def test_the_built_in_mixers_come_through_the_projects_own_entry_points() -> None:
    assert set(BUILT_IN) <= set(load_registry().names())
    assert load_registry()["inception_dw"].distribution == "metaformer-search"


def test_scanning_imports_neither_torch_nor_any_mixer() -> None:
    code = (
        "import sys; from mixers import load_registry; names = load_registry().names(); "
        "assert 'pooling' in names; "
        "bad = [m for m in sys.modules if m == 'torch' or m.startswith('mixers.builtin')]; "
        "sys.exit(str(bad) if bad else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_third_partys_mixer_has_a_canonical_name_and_a_short_one(here: str) -> None:
    registry = registry_with(entry_point("their-mixers", "sum", f"{here}:Somebodys"))
    assert "their-mixers/sum" in registry.names()
    resolved = registry.resolve(MixerSpec("sum"))
    assert resolved == MixerSpec.of("their-mixers/sum", {"size": 1})


def test_a_built_in_short_name_stays_the_built_in_one(here: str) -> None:
    registry = registry_with(entry_point("their-mixers", "pooling", f"{here}:Somebodys"))
    assert registry["pooling"].distribution == "metaformer-search"
    assert registry["their-mixers/pooling"].distribution == "their-mixers"


def test_a_name_given_twice_is_refused_naming_both(here: str) -> None:
    registry = registry_with(
        entry_point("one", "sum", f"{here}:Somebodys"),
        entry_point("two", "sum", f"{here}:Somebodys"),
    )
    with pytest.raises(
        UnknownMixerError,
        match="sum is given by one 1.0 and two 1.0; write",
    ):
        registry["sum"]


def test_an_unknown_name_lists_the_installed_ones_and_the_nearest() -> None:
    with pytest.raises(UnknownMixerError, match="did you mean inception_dw") as caught:
        load_registry()["inception_d"]
    assert "installed: attention" in str(caught.value)


def test_a_blocked_distribution_says_so_when_its_mixer_is_named(here: str) -> None:
    from packaging.specifiers import SpecifierSet

    rules = PluginRules(block={"their-mixers": SpecifierSet("")})
    registry = registry_with(entry_point("their-mixers", "sum", f"{here}:Somebodys"), rules=rules)
    assert "their-mixers/sum" not in registry.names()
    with pytest.raises(UnknownMixerError, match="installed but blocked: .* blocks their-mixers"):
        registry["their-mixers/sum"]


def test_a_broken_mixer_stops_nothing_until_it_is_named(here: str) -> None:
    registry = registry_with(
        entry_point("theirs", "gone", "no_such_module:Mixer"),
        entry_point("theirs", "no_class", f"{here}:not_a_class"),
        entry_point("theirs", "sloppy", f"{here}:OutOfContract"),
    )
    assert registry.build(MixerSpec("pooling"), Site(8, 4, 4)) is not None
    with pytest.raises(PluginError, match="theirs/gone of theirs 1.0 cannot be imported"):
        registry.resolve(MixerSpec("gone"))
    with pytest.raises(PluginError, match="is not a class"):
        registry.resolve(MixerSpec("no_class"))
    with pytest.raises(SignatureError, match="must be keyword-only"):
        registry.resolve(MixerSpec("sloppy"))


def test_an_unknown_option_is_refused_before_anything_is_built() -> None:
    with pytest.raises(OptionError, match="kernal_size: unknown option"):
        load_registry().build(MixerSpec.of("separable_conv", {"kernal_size": 3}), Site(8, 4, 4))


def test_specs_are_equal_whatever_the_order_of_their_options() -> None:
    one = MixerSpec.of("x", {"a": 1, "b": 2})
    other = MixerSpec.of("x", {"b": 2, "a": 1})
    assert one == other
    assert hash(one) == hash(other)
    assert one.options == {"a": 1, "b": 2}


class NoModule:
    def __init__(self, site: Site) -> None: ...


class Clumsy(nn.Module):
    def __init__(self, site: Site) -> None:
        super().__init__()
        self.size = site.chanels  # type: ignore[attr-defined]  # the mistake


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("raises_at_import:Mixer", "cannot be imported .*: RuntimeError: no licence"),
        ("leaves_at_import:Mixer", "cannot be imported .*: SystemExit: 3"),
        ("somebodys_mixers:NoModule", "is not a class of torch.nn.Module"),
        ("somebodys_mixers:Clumsy", "cannot be built for Site.*AttributeError: .*chanels"),
    ],
)
@pytest.mark.usefixtures("here")
def test_an_authors_mistake_is_told_in_words(
    value: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "raises_at_import.py").write_text("raise RuntimeError('no licence')")
    (tmp_path / "leaves_at_import.py").write_text("import sys; sys.exit(3)")
    monkeypatch.syspath_prepend(tmp_path)
    registry = registry_with(entry_point("strangers", "odd", value))
    with pytest.raises(PluginError, match=words):
        registry.build(MixerSpec("odd"), Site(8, 4, 4))


@pytest.mark.usefixtures("here")
def test_a_refused_mixer_says_why_under_its_short_name_too() -> None:
    rules = PluginRules(block={"strangers": SpecifierSet("")})
    point = entry_point("strangers", "odd", "somebodys_mixers:Somebodys")
    with pytest.raises(UnknownMixerError, match="strangers/odd is installed but blocked: plugins"):
        registry_with(point, rules=rules)["odd"]

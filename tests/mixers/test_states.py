"""The state of each mixer, and what a `plugins.toml` says of names, options and local files."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Annotated

import own_mixer
import pytest
from misbehaving import entry_point
from torch import Tensor, nn

from mixers import (
    Choice,
    FloatRange,
    IntRange,
    MixerRegistry,
    MixerSpec,
    MixerState,
    OptionError,
    PluginError,
    PluginsFileError,
    Site,
    UnknownMixerError,
)
from mixers._registry import registry_of
from mixers.plugins_file import read_plugin_rules
from mixers.scan import scan


class Somebodys(nn.Module):
    def __init__(
        self,
        site: Site,
        *,
        size: Annotated[int, Choice(1, 2, 3)] = 1,
        groups: Annotated[int, IntRange(2, 16, 2)] = 4,
        ratio: Annotated[float, FloatRange(0.0, 1.0)] = 0.5,
    ) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    """This module under a name that entry points can import."""
    monkeypatch.setitem(sys.modules, "somebodys", sys.modules[__name__])


CLASS = "somebodys:Somebodys"
SUM = entry_point("theirs", "sum", CLASS)
RIVAL = entry_point("rivals", "sum", CLASS, "2.0")


def registry(*points: EntryPoint, rules: str = "") -> MixerRegistry:
    Path("plugins.toml").write_text(f"schema = 1\n{rules}")
    return registry_of([*scan(), *points], read_plugin_rules("plugins.toml"))


def state_of(registry: MixerRegistry, name: str) -> tuple[MixerState, str]:
    entries = {entry.name: entry for entry in registry.all_entries()}
    return registry.state(entries[name])


@pytest.mark.parametrize(
    ("points", "rules", "state", "reason"),
    [
        ((SUM,), "", MixerState.ACTIVE, ""),
        ((SUM,), "[block]\ntheirs = '<2'", MixerState.BLOCKED, "plugins.toml blocks theirs <2"),
        ((SUM,), "[allow]\nmetaformer-search = '*'", MixerState.BLOCKED, "not in [allow]"),
        ((SUM,), "[mixers.sum]\nenabled = false", MixerState.DISABLED, "switches theirs/sum off"),
        ((SUM, RIVAL), "", MixerState.CONFLICT, "sum is given by rivals 2.0 and theirs 1.0"),
        ((SUM, RIVAL), "[resolve]\nsum = 'theirs/sum'", MixerState.ACTIVE, ""),
        (
            (SUM, entry_point("theirs", "sum", "somebodys:Other")),
            "",
            MixerState.CONFLICT,
            "theirs 1.0 gives sum twice: somebodys:Other and somebodys:Somebodys",
        ),
        (
            (entry_point("theirs", "sum", CLASS, requires=["metaformer-search>=9"]),),
            "",
            MixerState.INCOMPATIBLE,
            "needs metaformer-search>=9, installed is ",
        ),
        (
            (entry_point("theirs", "sum", CLASS, requires=["metaformer-search<9", "torch"]),),
            "",
            MixerState.ACTIVE,
            "",
        ),
    ],
)
def test_the_state_of_a_mixer_and_its_reason_are_told_without_an_import(
    points: tuple[EntryPoint, ...], rules: str, state: MixerState, reason: str
) -> None:
    found = registry(*points, rules=rules)
    told, why = state_of(found, "theirs/sum")
    assert told is state
    assert reason in why
    if "theirs/sum" in found.refused:
        with pytest.raises(UnknownMixerError, match=f"theirs/sum is installed but {state}"):
            found["sum"]


def test_a_name_that_is_no_name_is_refused() -> None:
    found = registry(entry_point("theirs", "a b", CLASS))
    assert state_of(found, "theirs/a b")[0] is MixerState.INCOMPATIBLE


def test_the_project_settles_whose_a_short_name_is() -> None:
    settled = registry(SUM, RIVAL, rules="[resolve]\nsum = 'rivals/sum'")
    assert settled["sum"].distribution == "rivals"
    assert settled["theirs/sum"].distribution == "theirs"
    with pytest.raises(UnknownMixerError, match=r'\[resolve\] sum = "rivals/sum"'):
        registry(SUM, RIVAL)["sum"]


def test_names_that_are_in_use_stay_whose_they_are_and_built_in_ones_their_own() -> None:
    pooling = entry_point("rivals", "pooling", CLASS)
    found = registry(SUM, RIVAL, pooling).settled(["theirs/sum", "rivals/pooling"])
    assert found["sum"].distribution == "theirs"
    assert found["pooling"].distribution == "metaformer-search"
    assert state_of(found, "rivals/sum")[0] is MixerState.ACTIVE
    with pytest.raises(UnknownMixerError, match="sum is given by rivals 2.0 and theirs 1.0"):
        registry(SUM, RIVAL).settled(["theirs/sum", "rivals/sum"])["sum"]


def test_defaults_and_search_domains_are_the_projects_and_what_is_published_stays() -> None:
    rules = "[mixers.sum]\ndefaults = {size = 2}\nsearch = {size = [2, 3]}"
    narrowed = registry(SUM, rules=rules)
    assert narrowed.resolve(MixerSpec("sum")).options["size"] == 2
    assert narrowed.resolve(MixerSpec("sum"), as_published=True).options["size"] == 1
    assert narrowed.resolve(MixerSpec.of("sum", {"size": 1})).options["size"] == 1
    size = next(option for option in narrowed["sum"].options if option.name == "size")
    assert size.search_domain() == Choice(2, 3)
    assert size.domain == Choice(1, 2, 3)


@pytest.mark.parametrize(
    ("said", "option", "domain"),
    [
        ("{groups = {low = 4, high = 8}}", "groups", IntRange(4, 8, 2)),
        ("{groups = {high = 14, step = 4}}", "groups", IntRange(2, 14, 4)),
        ("{groups = [2, 16]}", "groups", Choice(2, 16)),
        ("{ratio = {low = 0.25, step = 0.25}}", "ratio", FloatRange(0.25, 1.0, 0.25)),
        ("{ratio = [0, 1]}", "ratio", Choice(0.0, 1.0)),
    ],
)
def test_a_domain_is_narrowed_to_values_or_to_a_part(
    said: str, option: str, domain: object
) -> None:
    options = registry(SUM, rules=f"[mixers.sum]\nsearch = {said}")["sum"].options
    assert next(o for o in options if o.name == option).search_domain() == domain


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ("search = {sise = [1]}", ":3:11: mixers.sum.search.sise: unknown option; theirs/sum "),
        ("search = {size = [4]}", ":3:11: mixers.sum.search.size: got 4; allowed: 1, 2, 3"),
        ("search = {size = {low = 1}}", "size: got {'low': 1}; allowed: a list of one or more"),
        ("search = {groups = {lo = 4}}", "groups: got lo; allowed: low, high, step, log; did"),
        ("search = {groups = {step = 3}}", "groups: step: got 3; allowed: multiples of 2"),
        ("search = {groups = {high = 14, step = 3}}", "groups: step: got 3; allowed: multiples of"),
        ("search = {groups = {low = 8, high = 4}}", "groups: got 8 to 4; allowed: low up to"),
        ("[mixers.sum.defaults]\nsize = 9", ":4:1: mixers.sum.defaults.size: got 9; allowed:"),
    ],
)
def test_a_rule_that_does_not_fit_the_options_is_said_with_its_place(
    rules: str, words: str
) -> None:
    entry = registry(SUM, rules=f"[mixers.sum]\n{rules}")["sum"]
    with pytest.raises(PluginsFileError) as caught:
        entry.options  # noqa: B018  # reading them is what fails
    assert words in str(caught.value)
    assert str(caught.value).startswith("plugins.toml:")


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ("[resolve]\nsum = 'their/sum'", "plugins.toml:3:1: resolve.sum: got 'their/sum'; all"),
        ("[resolve]\npooling = 'theirs/pooling'", "resolve.pooling: pooling is built in"),
        ("[mixers.summ]\nenabled = true", "plugins.toml:2:9: mixers.summ: no such mixer; inst"),
        ("[block]\ntheirz = '*'", "block.theirz: theirz gives no mixers here; did you mean the"),
    ],
)
def test_a_name_that_nothing_has_is_an_error_with_its_place(rules: str, words: str) -> None:
    with pytest.raises(PluginsFileError) as caught:
        registry(SUM, rules=rules)
    assert words in str(caught.value)


def test_a_distribution_that_is_not_installed_may_be_allowed_or_blocked() -> None:
    rules = "[allow]\nmetaformer-search = '*'\nelsewhere = '*'\n[block]\nsomewhere = '*'"
    assert "pooling" in registry(SUM, rules=rules).names()


def test_rules_of_a_short_name_that_two_give_need_the_canonical_one() -> None:
    with pytest.raises(PluginsFileError, match="allowed: rivals/sum, theirs/sum"):
        registry(SUM, RIVAL, rules="[mixers.sum]\nenabled = false")
    rules = "[mixers.'rivals/sum']\nenabled = false"
    assert registry(SUM, RIVAL, rules=rules)["sum"].distribution == "theirs"


def test_a_mixer_of_the_projects_own_comes_from_a_file_beside_plugins_toml() -> None:
    Path("experiments").mkdir()
    Path("experiments/mine.py").write_text(own_mixer.CODE)
    rules = "[local]\nmine = 'experiments/mine.py:Mine'"
    own = registry(rules=rules)
    entry = own["mine"]
    assert entry.name == "local/mine"
    assert entry.entry_point == "experiments/mine.py:Mine"
    before = entry.fingerprint()
    mixer = own.build(MixerSpec.of("mine", {"size": 5}), Site(4, 6, 6))
    assert sum(parameter.numel() for parameter in mixer.parameters()) == 4 * 4 * 25 + 4
    Path("experiments/mine.py").write_text(own_mixer.CODE + "# changed\n")
    assert registry(rules=rules)["mine"].version != before["version"]


def test_the_file_counts_from_where_plugins_toml_lies() -> None:
    Path("there").mkdir()
    Path("there/mine.py").write_text(own_mixer.CODE)
    Path("there/rules.toml").write_text("schema = 1\n[local]\nmine = 'mine.py:Mine'\n")
    own = registry_of(scan(), read_plugin_rules("there/rules.toml"))
    assert own["mine"].broken() is None


def test_local_code_that_fails_says_so_with_its_traceback() -> None:
    Path("mine.py").write_text("def f():\n    raise KeyError('no such thing')\nf()\n")
    entry = registry(rules="[local]\nmine = 'mine.py:Mine'")["mine"]
    reason = entry.broken()
    assert reason is not None
    assert "cannot be imported from mine.py:Mine: KeyError: 'no such thing'" in reason
    assert "in f" in entry.broken_traceback()
    with pytest.raises(PluginError):
        entry.mixer_class  # noqa: B018  # reading it again is what fails


def test_what_a_mixer_prints_at_import_goes_to_the_standard_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("loud.py").write_text("print('hello')\n" + own_mixer.CODE)
    assert registry(rules="[local]\nloud = 'loud.py:Mine'")["loud"].broken() is None
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "local/loud is run from loud.py:Mine, as plugins.toml says\nhello\n"


def test_an_option_of_a_project_is_still_checked() -> None:
    with pytest.raises(OptionError, match="size: got 9; allowed: 1, 2, 3"):
        registry(SUM).resolve(MixerSpec.of("sum", {"size": 9}))

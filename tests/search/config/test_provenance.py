"""What a study under way says to mixers that are no longer what they were."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import own_mixer
import pytest
from misbehaving import entry_point
from studies import Evaluate, Heard, reject, runner
from tiny import STUDY, write_images, write_study

from mixers import MixerRegistry, PluginError, UnknownMixerError
from mixers._registry import registry_of
from mixers.plugins_file import PluginRules, read_plugin_rules
from mixers.scan import scan
from search.config.load import load_study
from search.errors import EnvironmentProblem, UsageError
from search.study.runner import StudyRunner

WITH_MINE = STUDY.replace("[identity, pooling]", "[identity, mine]")


def own_mixers(code: str = own_mixer.CODE, more: str = "") -> MixerRegistry:
    Path("mine.py").write_text(code)
    Path("plugins.toml").write_text(f"schema = 1\n[local]\nmine = 'mine.py:Mine'\n{more}")
    return registry_of(scan(), read_plugin_rules("plugins.toml"))


def study_of(
    registry: MixerRegistry, heard: Heard | None = None, *, allow_drift: bool = False
) -> StudyRunner:
    study = load_study(write_study(WITH_MINE), {}, device="cpu")
    made = runner(registry, study=study, heard=heard)
    made.allow_drift = allow_drift
    return made


@pytest.fixture
def _begun(evaluate_by: Callable[[Evaluate], None]) -> None:
    evaluate_by(reject)
    study_of(own_mixers()).run()


@pytest.mark.usefixtures("_begun")
def test_the_study_keeps_where_each_mixer_came_from_and_what_it_took() -> None:
    identity, mine = load_study("runs/tiny/study.yaml", {}, device="cpu").frozen_mixers
    assert identity["origin"].startswith(("editable ", "index", "file:"))
    assert mine["name"] == "local/mine"
    assert mine["entry_point"] == "mine.py:Mine"
    assert mine["origin"] == f"file {Path('mine.py').resolve()}"
    assert mine["options"] == {"size": {"default": 3, "allowed": "3, 5", "searched": "3, 5"}}


@pytest.mark.usefixtures("_begun")
def test_a_mixer_that_has_changed_stops_the_study_and_drift_may_be_allowed() -> None:
    changed = own_mixers(own_mixer.CODE + "# another\n")
    with pytest.raises(EnvironmentProblem) as caught:
        study_of(changed).run()
    words = str(caught.value)
    assert "mixers of this study have changed since it began:\n  local/mine.version: was" in words
    assert "--allow-drift" in words
    assert "search fork runs/tiny" in words
    heard = Heard()
    assert study_of(changed, heard, allow_drift=True).run()["outcome"] == "done"
    assert any(note.startswith("changed since the study began: local/mine") for note in heard.notes)
    study_of(changed).run()  # what was allowed once is what the study holds from then on


@pytest.mark.usefixtures("_begun")
def test_options_that_are_searched_otherwise_cannot_be_allowed() -> None:
    wider = own_mixers(own_mixer.CODE.replace("Choice(3, 5)", "Choice(3, 5, 7)"))
    with pytest.raises(EnvironmentProblem, match=r"options.size.searched: was .*3, 5, 7"):
        study_of(wider, allow_drift=True).run()


@pytest.mark.usefixtures("_begun")
def test_a_mixer_that_is_gone_or_refused_stops_the_study_whatever_is_allowed() -> None:
    with pytest.raises(EnvironmentProblem, match="  local/mine: not installed; --plugins names"):
        study_of(registry_of(scan(), PluginRules()), allow_drift=True).run()
    off = own_mixers(more="[mixers.mine]\nenabled = false\n")
    with pytest.raises(EnvironmentProblem, match="local/mine: disabled: plugins.toml switches"):
        study_of(off, allow_drift=True).run()


@pytest.mark.usefixtures("_begun")
def test_a_rival_that_is_installed_later_does_not_take_a_name_from_a_study_under_way() -> None:
    Path("rivals.py").write_text(own_mixer.CODE)
    rival = entry_point("rivals", "mine", "rivals:Mine")
    both = registry_of([*scan(), rival], read_plugin_rules("plugins.toml"))
    with pytest.raises(UnknownMixerError, match="mine is given by local .* and rivals"):
        both["mine"]
    before = Path("runs/tiny/study.yaml").read_text()
    assert study_of(both).run()["outcome"] == "done"
    assert Path("runs/tiny/study.yaml").read_text() == before


def test_a_study_says_which_code_of_the_user_it_runs(
    evaluate_by: Callable[[Evaluate], None], capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate_by(reject)
    study_of(own_mixers()).run()
    assert "local/mine is run from mine.py:Mine, as plugins.toml says\n" in capsys.readouterr().err


def test_a_broken_mixer_is_left_out_of_any_and_stops_whoever_names_it(
    evaluate_by: Callable[[Evaluate], None],
) -> None:
    evaluate_by(reject)
    broken = entry_point("theirs", "gone", "no_such_module:Mixer")
    registry = registry_of([*scan(), broken], PluginRules())
    text = STUDY.replace("mixer: {choice: [identity, pooling]}", "mixer: any")
    heard = Heard()
    study = load_study(write_study(text), {}, device="cpu")
    assert runner(registry, study=study, heard=heard).run()["outcome"] == "done"
    assert any(note.startswith("left out of any: theirs/gone of theirs 1") for note in heard.notes)
    frozen = load_study("runs/tiny/study.yaml", {}, device="cpu").frozen_mixers
    assert "theirs/gone" not in [mixer["name"] for mixer in frozen]
    named = STUDY.replace("[identity, pooling]", "[identity, gone]").replace("tiny", "named")
    with pytest.raises(PluginError, match=r"(?s)tiny.yaml:13:34: stages\[0\].mixer: theirs/gone"):
        runner(registry, study=load_study(write_study(named), {}, device="cpu")).run()


def test_a_study_from_before_the_rules_of_reading_resumes_with_a_note_once(
    registry: MixerRegistry, evaluate_by: Callable[[Evaluate], None]
) -> None:
    evaluate_by(reject)
    write_images(Path("images"), 8)
    study = load_study(write_study(STUDY.replace("digits", "folder:images")), {}, device="cpu")
    runner(registry, study=study).run()
    file = Path("runs/tiny/study.yaml")
    (reading,) = [line for line in file.read_text().splitlines(True) if "  reading:" in line]
    file.write_text(file.read_text().replace(reading, ""))
    for notes in (1, 0):
        heard = Heard()
        runner(registry, study=study, heard=heard).run()
        said = [note for note in heard.notes if "transparent, rotated and 32-bit images" in note]
        assert len(said) == notes
    file.write_text(file.read_text().replace(reading, "  reading: other\n"))
    with pytest.raises(UsageError, match="data.reading: was .other., now"):
        runner(registry, study=study).run()

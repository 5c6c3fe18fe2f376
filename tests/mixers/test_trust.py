"""Code that the working directory's plugins.toml names is run after consent to just that code."""

from __future__ import annotations

import json
import os
import py_compile
import stat
from pathlib import Path

import own_mixer
import pytest
from consent import agree

from mixers import MixerSpec, MixerState, PluginError, Site, UnknownMixerError, load_registry
from mixers.plugins_file import read_plugin_rules
from mixers.trust import trust, trusted_file

MARKING = "open('executed', 'a').close()\n"
RULES = "schema = 1\n[local]\nmine = 'mine.py:Mine'\n"
SPEC = MixerSpec.of("mine", {"size": 5})
HERE = Site(4, 6, 6)


@pytest.fixture(autouse=True)
def _hostile_folder() -> None:
    Path("mine.py").write_text(MARKING + own_mixer.CODE)
    Path("plugins.toml").write_text(RULES)


def executed() -> bool:
    return Path("executed").exists()


def assert_refused() -> None:
    registry = load_registry()
    assert registry.refused["local/mine"].state is MixerState.UNTRUSTED
    with pytest.raises(UnknownMixerError, match=r"untrusted: .*search plugins trust.*--plugins"):
        registry.build(SPEC, HERE)
    assert "local/mine" not in registry.names()
    assert not executed()


def test_code_of_the_working_directory_is_not_run_unasked() -> None:
    assert_refused()


@pytest.mark.parametrize("base", [None, "", "relative", "./.config"])
def test_consent_is_kept_in_the_home_folder_without_an_absolute_path(
    base: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path would lead into the working directory, which must not consent to itself."""
    monkeypatch.setenv("HOME", str(tmp_path))
    if base is None:
        monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    else:
        monkeypatch.setenv("XDG_CONFIG_HOME", base)
    assert trusted_file() == tmp_path / ".config/metaformer-search/trusted.json"


def test_to_name_the_file_is_consent_for_that_call_only() -> None:
    load_registry("plugins.toml").build(SPEC, HERE)
    assert executed()
    Path("executed").unlink()
    assert_refused()


def test_after_consent_it_is_run_and_said_before(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.py").write_text("print('running')\n" + own_mixer.CODE)
    agree()
    load_registry().build(SPEC, HERE)
    said = "local/mine is run from mine.py:Mine, as plugins.toml says\nrunning\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("mine.py", MARKING + own_mixer.CODE + "# edited\n"),
        ("plugins.toml", RULES + "[mixers.mine]\nenabled = true\n"),
        ("plugins.toml", RULES.replace("mine.py", "./mine.py")),
        ("plugins.toml", RULES + "[trainers]\nmine = 'mine.py:train'\n"),
    ],
)
def test_an_edit_needs_consent_again(file: str, text: str) -> None:
    agree()
    Path(file).write_text(text)
    assert_refused()
    agree()
    assert "local/mine" in load_registry().names()


def test_files_that_exchange_their_contents_need_consent_again() -> None:
    for name in ("a", "b"):
        Path(f"{name}.py").write_text(own_mixer.CODE + f"# {name}\n")
    Path("plugins.toml").write_text(RULES + "a = 'a.py:Mine'\nb = 'b.py:Mine'\n")
    agree()
    assert load_registry()["a"].distribution == "local"
    os.replace("a.py", "c.py")
    os.replace("b.py", "a.py")
    os.replace("c.py", "b.py")
    assert_refused()


def test_consent_to_a_folder_is_none_to_its_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    agree()
    Path("copy").mkdir()
    for name in ("mine.py", "plugins.toml"):
        Path("copy", name).write_text(Path(name).read_text())
    monkeypatch.chdir("copy")
    assert_refused()


def test_consent_to_one_folder_leaves_that_to_another(monkeypatch: pytest.MonkeyPatch) -> None:
    agree()
    Path("other").mkdir()
    Path("other/mine.py").write_text(own_mixer.CODE)
    Path("other/plugins.toml").write_text(RULES)
    rules = Path("other/plugins.toml")
    trust(rules, read_plugin_rules(rules).consent)
    assert "local/mine" in load_registry().names()
    monkeypatch.chdir("other")
    assert "local/mine" in load_registry().names()


def test_a_file_that_is_changed_after_it_was_read_is_not_run() -> None:
    registry = load_registry("plugins.toml")
    Path("mine.py").write_text(MARKING + own_mixer.CODE + "# edited\n")
    with pytest.raises(PluginError, match="mine.py has changed since"):
        registry.build(SPEC, HERE)
    assert not executed()


def test_what_is_run_is_the_text_and_no_compiled_file_next_to_it() -> None:
    Path("mine.py").write_text(own_mixer.CODE)
    Path("other.py").write_text(MARKING + own_mixer.CODE)
    unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
    cache = Path(py_compile.compile("mine.py", invalidation_mode=unchecked, doraise=True) or "")
    py_compile.compile("other.py", cfile=str(cache), invalidation_mode=unchecked, doraise=True)
    load_registry("plugins.toml").build(SPEC, HERE)
    assert not executed()


def test_a_file_next_to_it_is_not_imported() -> None:
    Path("sibling.py").write_text(MARKING)
    for line in ("import sibling\n", "from . import sibling\n", "from .sibling import x\n"):
        Path("mine.py").write_text(line + own_mixer.CODE)
        with pytest.raises(PluginError, match="ImportError|ModuleNotFoundError"):
            load_registry("plugins.toml").build(SPEC, HERE)
    assert not executed()


def test_the_consent_of_another_process_decides_and_is_not_announced_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    consent = load_registry("plugins.toml").rules.consent
    load_registry("plugins.toml", consent=consent).build(SPEC, HERE)
    assert capsys.readouterr().err == ""
    Path("executed").unlink()
    for given in ("", None):
        path = "plugins.toml" if given == "" else None
        refused = load_registry(path, consent=given).refused
        assert refused["local/mine"].state is MixerState.UNTRUSTED
    Path("mine.py").write_text(MARKING + own_mixer.CODE + "# edited\n")
    with pytest.raises(PluginError, match="has changed since the command was started"):
        load_registry("plugins.toml", consent=consent)
    assert not executed()


def test_consent_is_kept_for_its_owner_only() -> None:
    agree()
    file = trusted_file()
    assert file is not None
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(json.loads(file.read_text())) == [str(Path("plugins.toml").resolve())]
    assert [entry.name for entry in file.parent.iterdir()] == ["trusted.json"]


@pytest.mark.parametrize("folder", ["", ".", "config", "./../x"])
def test_a_configuration_folder_of_the_working_directory_does_not_count(
    folder: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    digest = load_registry("plugins.toml").rules.consent
    for name in ("XDG_CONFIG_HOME", "HOME"):
        monkeypatch.setenv(name, folder)
        monkeypatch.setenv("HOME" if name != "HOME" else "XDG_CONFIG_HOME", str(tmp_path))
        for base in (Path(folder), Path(folder, ".config")):
            forged = base / "metaformer-search" / "trusted.json"
            forged.parent.mkdir(parents=True, exist_ok=True)
            forged.write_text(json.dumps({str(Path("plugins.toml").resolve()): digest}))
        assert_refused()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 1}', "\xff", "null"])
def test_a_damaged_file_of_consents_gives_none_and_is_not_overwritten(text: str) -> None:
    file = trusted_file()
    assert file is not None
    file.parent.mkdir(parents=True)
    file.write_bytes(text.encode("latin-1"))
    assert_refused()
    with pytest.raises(PluginError, match="trusted.json: is damaged; remove it"):
        agree()
    assert file.read_bytes() == text.encode("latin-1")


def test_without_a_home_nothing_is_trusted_and_a_named_file_works(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setattr(Path, "home", no_home)
    assert_refused()
    with pytest.raises(PluginError, match=r"no home folder .*--plugins plugins.toml"):
        agree()
    assert "local/mine" in load_registry("plugins.toml").names()


def test_rules_without_code_need_no_consent() -> None:
    Path("plugins.toml").write_text("schema = 1\n[mixers.pooling]\nenabled = false\n")
    registry = load_registry()
    assert registry.rules.local_refusal is None
    assert registry.refused["pooling"].state is MixerState.DISABLED

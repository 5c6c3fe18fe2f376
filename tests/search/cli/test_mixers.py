"""`search mixers`: listed, shown, checked, begun."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from consent import agree
from installed import mixer_source

from mixers.conformance import CHECK_NAMES
from search.cli import main


def mixers(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["mixers", *arguments])


def local(more: str = "", **sources: str) -> None:
    """Mixers of the working directory's own files, by name."""
    lines = [f"{name} = '{name}.py:Mixer'" for name in sources]
    Path("plugins.toml").write_text("\n".join(["schema = 1", "[local]", *lines, more]) + "\n")
    for name, source in sources.items():
        Path(f"{name}.py").write_text(source)
    agree()


def by_name(result: Result) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in json.loads(result.stdout)}


def test_all_are_listed_with_distribution_version_and_state() -> None:
    local("[mixers.pooling]\nenabled = false", mine=mixer_source())
    result = mixers()
    assert result.exit_code == 0
    header, *rows = result.output.splitlines()
    assert header.split() == ["name", "distribution", "version", "state"]
    states = {row.split()[0]: row.split()[-1] for row in rows if row and ": " not in row}
    assert states["inception_dw"] == "active"
    assert states["local/mine"] == "active"
    assert states["pooling"] == "disabled"
    assert "pooling: plugins.toml switches pooling off" in rows


def test_json_has_the_reason_beside_the_state() -> None:
    local("[block]\nmetaformer-search = '*'", mine=mixer_source())
    rows = by_name(mixers("--json"))
    assert rows["pooling"]["state"] == "blocked"
    assert rows["pooling"]["reason"] == "plugins.toml blocks metaformer-search"
    assert rows["local/mine"]["state"] == "active"
    assert set(rows["local/mine"]) == {"name", "distribution", "version", "state", "reason"}


def test_the_list_needs_no_torch_and_runs_no_mixer() -> None:
    local(mine=mixer_source(head="open('was_run', 'w')"))
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from search.cli import main; main(['mixers', '--json'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "local/mine" in [row["name"] for row in json.loads(done.stdout)]
    assert not Path("was_run").exists()


@pytest.mark.slow
def test_verify_imports_each_in_a_process_of_its_own() -> None:
    local(
        "[allow]",
        mine=mixer_source(head="print('hello')"),
        gone=mixer_source(head="import os; os._exit(3)"),
    )
    done = subprocess.run(
        [sys.executable, "-m", "search", "mixers", "--json", "--verify"],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert rows["local/mine"]["state"] == "active"
    assert rows["local/gone"]["state"] == "broken"
    assert rows["local/gone"]["reason"] == "the process ended with exit code 3"
    assert rows["pooling"]["state"] == "blocked"
    assert "local/mine is run from mine.py:Mixer, as plugins.toml says\nhello\n" in done.stderr


def test_options_declarations_and_cost_are_shown() -> None:
    result = mixers("show", "separable_conv", "--channels", "8", "--map-size", "4")
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert lines[0].split()[:2] == ["separable_conv", "metaformer-search"]
    assert "Pointwise expansion, StarReLU, depthwise convolution" in result.output
    assert "  kernel_size = 7   allowed: 3, 5, 7, 9, 11" in lines
    assert "searched: 3, 5, 7" in result.output
    assert "declares: supports_dilation, supports_torchscript" in lines
    # 8·16 and 16·8 between channels, 16·49 in depth, scale and bias of StarReLU; 16 positions
    assert lines[-1] == "cost at 8 channels, 4×4: 1,042 params, 16,640 MACs"


def test_what_is_shown_can_be_had_as_json() -> None:
    local("[mixers.pooling]\ndefaults = {pool_size = 5}\nsearch = {pool_size = [5, 7]}")
    shown = json.loads(mixers("show", "pooling", "--json").stdout)
    assert shown["options"]["pool_size"]["default"] == 5
    assert shown["options"]["pool_size"]["searched"] == "5, 7"
    assert shown["declares"]["needs_normalised_input"] is False
    assert shown["cost"] == {"params": 0, "macs": 0}
    assert shown["site"] == {"channels": 64, "height": 14, "width": 14}


def test_a_site_that_the_mixer_refuses_is_said_in_its_words() -> None:
    result = mixers("show", "inception_dw", "--channels", "3")
    assert result.exit_code == 0
    assert "cost at 3 channels, 14×14: does not go there: " in result.output


@pytest.mark.parametrize("command", ["show", "check"])
def test_an_unknown_name_is_answered_with_the_nearest(command: str) -> None:
    result = mixers(command, "poling")
    assert result.exit_code == 2
    assert "NAME: got poling; unknown mixer; installed: " in result.stderr
    assert "did you mean pooling?" in result.stderr


@pytest.mark.parametrize("command", ["show", "check"])
def test_a_mixer_that_is_switched_off_is_neither_shown_nor_checked(command: str) -> None:
    local("[mixers.pooling]\nenabled = false")
    result = mixers(command, "pooling")
    assert result.exit_code == 2
    assert "NAME: pooling is installed but disabled: plugins.toml switches" in result.stderr


def test_a_broken_mixer_has_a_reason_and_on_demand_its_traceback() -> None:
    local(mine="def f():\n    raise KeyError('no such thing')\nf()\n")
    result = mixers("show", "mine")
    assert result.exit_code == 4
    assert "local/mine of local" in result.stderr
    assert "cannot be imported from mine.py:Mixer: KeyError: 'no such thing'" in result.stderr
    assert "Traceback" not in result.stderr
    shown = mixers("show", "mine", "--traceback")
    assert shown.exit_code == 4
    assert 'mine.py", line 2, in f' in shown.stderr


def test_that_code_of_the_users_own_is_run_is_said_before_it_runs() -> None:
    local(mine=mixer_source(head="print('hello')"))
    result = mixers("show", "mine", "--json")
    assert json.loads(result.stdout)["entry_point"] == "mine.py:Mixer"
    assert result.stderr == "local/mine is run from mine.py:Mixer, as plugins.toml says\nhello\n"


def test_a_good_mixer_is_checked_with_exit_code_0() -> None:
    local(mine=mixer_source(head="print('hello')"))
    result = mixers("check", "mine")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["signature", "PASSED", "takes", "no", "options"]
    assert lines[-1] == f"{len(CHECK_NAMES) - 6} PASSED, 0 FAILED, 6 SKIPPED"


def test_a_failed_check_is_exit_code_4_and_json_says_which() -> None:
    local(
        mine="from torch import nn\nclass Mixer(nn.Module):\n    def __init__(self, x, **k): ...\n"
    )
    result = mixers("check", "mine", "--json")
    assert result.exit_code == 4
    (record,) = json.loads(result.stdout)
    assert (record["check"], record["status"]) == ("import", "FAILED")
    assert "takes **k; name every option, keyword-only" in record["detail"]


def test_a_new_package_is_written_and_the_next_step_named() -> None:
    result = mixers("new", "wavy_mixer", "--out", "there")
    assert result.exit_code == 0
    assert Path("there/wavy-mixer/wavy_mixer/__init__.py").is_file()
    assert result.output.splitlines()[-1] == (
        "next: pip install -e there/wavy-mixer && search mixers check wavy_mixer"
    )
    again = mixers("new", "wavy_mixer", "--out", "there")
    assert again.exit_code == 2
    assert "there/wavy-mixer is there already" in again.stderr

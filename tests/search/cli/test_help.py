from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner

from search.cli import main
from search.cli.errors import ExitCode

GOLDEN = Path(__file__).parents[2] / "golden"
HEAVY = {"torch", "timm", "optuna", "numpy", "pydantic", "sklearn", "scipy", "yaml", "rich"}


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from search.cli import main\n"
        "for arguments in (['--help'], ['run', '--help'], ['spec', '--help'], ['--version']):\n"
        "    main(arguments, standalone_mode=False)\n"
        "print('imported', *sorted({name.split('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = set(done.stdout.rsplit("imported", 1)[1].split())
    assert not imported & HEAVY


def test_the_package_runs_as_a_module_and_as_a_script() -> None:
    script = Path(sys.executable).parent / "search"
    for command in ([sys.executable, "-m", "search"], [str(script)]):
        done = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True)
        assert "Find the backbone with the best accuracy" in done.stdout


def test_the_exit_codes_are_documented_and_those_of_the_golden_file() -> None:
    golden = json.loads((GOLDEN / "exit_codes.json").read_text())
    assert {code.name: code.value for code in ExitCode} == golden
    text = CliRunner().invoke(main, ["--help"]).output
    for code in ExitCode:
        assert re.search(rf"^ +{code.value}  ", text, re.MULTILINE)


def test_an_unknown_command_or_option_is_a_usage_error() -> None:
    for arguments in (["serch"], ["run", "--no-such-option"], ["spec"]):
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == ExitCode.USAGE
        assert "Traceback" not in result.output


def test_help_lists_whole_summaries() -> None:
    for arguments in (["--help"], ["mixers", "--help"]):
        listed = CliRunner().invoke(main, arguments).output.partition("Commands:")[2]
        assert "..." not in listed
    assert "with a verdict on a budget." in " ".join(
        CliRunner().invoke(main, ["--help"]).output.split()
    )

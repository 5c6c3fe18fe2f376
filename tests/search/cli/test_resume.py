"""`search resume`: a study resumes from its folder."""

from __future__ import annotations

import json
import os
from pathlib import Path

from click.testing import CliRunner, Result

from search.cli import main


def resume(*arguments: str) -> Result:
    result = CliRunner().invoke(main, ["resume", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_it_goes_on_to_the_total_that_is_asked_for(finished: Path) -> None:
    before = (finished / "trials.jsonl").read_text()
    result = resume(str(finished), "--trials", "3", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["trials"]["counted"] == 3
    assert (finished / "trials.jsonl").read_text().startswith(before)


def test_the_working_directory_does_not_matter(finished: Path) -> None:
    os.chdir(finished)
    result = resume(".", "--trials", "3")
    assert result.exit_code == 0, result.output
    assert "tiny: 3 of 3 trials" in result.output
    assert not Path("runs").exists()


def test_it_says_what_cannot_go_on(finished: Path) -> None:
    result = resume("runs/tinny")
    assert (result.exit_code, "did you mean runs/tiny?" in result.output) == (2, True)
    finished.rename("runs/moved")
    result = resume("runs/moved")
    assert result.exit_code == 2
    assert "holds the study tiny, which continues in a folder of that name only" in result.output


def test_its_options_are_those_of_run_that_may_change() -> None:
    shown = CliRunner().invoke(main, ["resume", "--help"]).output
    of_run = ("--trials", "--time-limit", "--baseline", "--plugins", "--allow-drift", "--json")
    for option in (*of_run, "--workers", "--devices"):
        assert option in shown
    assert "--budget-throughput" not in shown


def test_a_link_of_the_studys_name_may_lead_to_a_folder_of_another(finished: Path) -> None:
    finished.rename("elsewhere")
    finished.symlink_to(Path("elsewhere").resolve())
    result = resume(str(finished), "--trials", "3")
    assert result.exit_code == 0, result.output


def test_status_does_not_advise_to_resume_a_folder_of_another_name(finished: Path) -> None:
    finished.rename("runs/moved")
    shown = CliRunner().invoke(main, ["status", "runs/moved"]).output
    renamed = Path("runs").resolve() / "tiny"
    assert f"mv {renamed.with_name('moved')} {renamed} && search resume {renamed}" in shown

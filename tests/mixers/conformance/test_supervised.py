"""Mixers that crash, hang, print and leave, in real processes."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Any

import pytest
from installed import install, mixer_source

from mixers.conformance import CheckRecord, Status, check_in_child
from mixers.conformance.supervised import Told

PASSED, FAILED, SKIPPED = Status.PASSED, Status.FAILED, Status.SKIPPED


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the import path of this process and of those that it starts."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def statuses(records: list[CheckRecord]) -> list[tuple[str, Status]]:
    return [(record.check, record.status) for record in records]


def test_a_crash_costs_its_check_and_the_others_go_on(path: Path) -> None:
    crash = "import ctypes; ctypes.string_at(0) if x.shape[0] == 1 else None"
    install(path, "crashing", mixer_source(forward=crash))
    only = ["declarations", "shapes", "determinism", "batch_independence", "deepcopy"]
    records = check_in_child("crashing", only=only)
    assert statuses(records) == [
        ("declarations", PASSED),
        ("shapes", FAILED),
        ("determinism", PASSED),
        ("batch_independence", FAILED),
        ("deepcopy", PASSED),
    ]
    assert {r.detail for r in records if r.status is FAILED} == {"the process died (SIGSEGV)"}


@pytest.mark.slow
def test_a_process_that_ends_without_a_word_failed(path: Path) -> None:
    install(path, "leaving", mixer_source(forward="import os; os._exit(0)"))
    (record,) = check_in_child("leaving", only=["shapes"])
    assert record == CheckRecord("shapes", FAILED, "the process ended with exit code 0")


def slow(*values: str) -> Any:
    """A case of its own process that plain pytest leaves out."""
    return pytest.param(*values, marks=pytest.mark.slow)


def gone(pid: int) -> bool:
    """Whether that process has ended; one that nobody has waited for yet counts as ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
def test_a_check_that_hangs_is_killed_with_all_that_it_started(path: Path) -> None:
    head = "import subprocess, time"
    hang = (
        f"open({str(path / 'pids')!r}, 'a').write("
        "f\"{subprocess.Popen(['sleep', '1000']).pid} \"); time.sleep(1000)"
    )
    install(path, "hanging", mixer_source(head=head, forward=hang))
    started = time.monotonic()
    only = ["declarations", "shapes", "determinism", "deepcopy", "macs"]
    records = check_in_child("hanging", time_limit=5.0, only=only)
    assert time.monotonic() - started < 100.0
    assert statuses(records) == [
        ("declarations", PASSED),
        ("shapes", FAILED),
        ("determinism", FAILED),
        ("deepcopy", SKIPPED),
        ("macs", SKIPPED),
    ]
    assert records[1].detail == "took longer than 5 s"
    assert records[3].detail == "not run, since 2 checks took longer than 5 s"
    pids = [int(pid) for pid in (path / "pids").read_text().split()]
    assert len(pids) == 2
    deadline = time.monotonic() + 10.0
    while not all(map(gone, pids)):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_what_a_mixer_prints_goes_to_stderr(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    head = (
        "import os, sys\nprint('from python')\nos.system('echo from a shell')\n"
        "os.write(1, b'from C\\n')\nprint('{\"begin\": \"nothing\"}')"
    )
    install(path, "printing", mixer_source(head=head))
    assert statuses(check_in_child("printing", only=["shapes"])) == [("shapes", PASSED)]
    out, err = capfd.readouterr()
    assert out == ""
    for words in ("from python", "from a shell", "from C", "nothing"):
        assert words in err


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import sys; sys.exit(3)", "cannot be imported from .*: SystemExit: 3"),
        slow("raise RuntimeError('no licence')", "cannot be imported from .*: RuntimeError: no"),
        slow("import os; os._exit(7)", "the process ended with exit code 7"),
        slow("import os; os.abort()", r"the process died \(SIGABRT\)"),
        slow("Mixer = 3", "is not a class of torch.nn.Module"),
        slow(
            mixer_source().replace("site: Site)", "site: Site, size=3)"),
            "Mixer.__init__: size=3 must be keyword-only",
        ),
    ],
)
def test_a_mixer_that_cannot_be_had_gives_one_record_with_the_reason(
    path: Path, source: str, words: str
) -> None:
    install(path, "odd", source)
    (record,) = check_in_child("odd")
    assert (record.check, record.status) == ("import", FAILED)
    assert re.search(words, record.detail), record.detail


@pytest.mark.slow
def test_an_import_that_hangs_is_killed(path: Path) -> None:
    install(path, "slow", "import time; time.sleep(1000)")
    assert check_in_child("slow", time_limit=1.0) == [
        CheckRecord("import", FAILED, "took longer than 1 s")
    ]


@pytest.mark.slow
def test_the_projects_file_of_plug_ins_is_obeyed(path: Path) -> None:
    install(path, "blocked", mixer_source())
    rules = path / "rules.toml"
    rules.write_text('schema = 1\n[block]\nstrangers = "*"\n')
    (record,) = check_in_child("blocked", plugins=rules)
    assert record.check == "import"
    assert "installed but blocked" in record.detail


@pytest.mark.slow
def test_no_descriptor_is_left_open(path: Path) -> None:
    install(path, "odd", "raise RuntimeError")
    before = os.listdir("/dev/fd")
    check_in_child("odd")
    assert os.listdir("/dev/fd") == before


def test_a_name_of_no_check_is_refused_before_anything_starts() -> None:
    with pytest.raises(ValueError, match="only: shape: no such check; .* did you mean shapes"):
        check_in_child("pooling", only=["shape"])


def test_a_death_right_after_a_check_is_told_with_it() -> None:
    run = Told(how="the process died (SIGABRT)")
    for check in ("signature", "shapes"):
        run.take({"begin": check})
        run.take(CheckRecord(check, PASSED, "fine").to_data())
    assert run.settled() == [
        CheckRecord("signature", PASSED, "fine"),
        CheckRecord("shapes", FAILED, "the process died (SIGABRT) right after it"),
    ]
    run.take({"end": True})
    assert run.settled()[1] == CheckRecord("shapes", PASSED, "fine")

"""Signals end a command with exit code 130, and are nobody's fault."""

from __future__ import annotations

import os
import signal

import pytest

from mixers.third_party_code import call_guarded
from search.cli.interrupt import interrupted


def test_a_signal_in_third_party_code_ends_the_command_and_blames_nobody(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended, interrupted("Ended. To repeat:"):
        call_guarded(os.kill, os.getpid(), signal.SIGTERM)
    assert ended.value.code == 130
    assert capsys.readouterr().err.startswith("Ended. To repeat: search")

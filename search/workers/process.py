"""A worker process as the study's own process sees it: started, asked, ended with all it began."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from mixers.child_process import module_command, module_environment
from search.workers._messages import Receiver, Sender

ENDING_SECONDS = 5.0


class WorkerDied(Exception):
    """The process ended in the middle of a task; the words say how."""


class Child:
    """One worker on `device`, of the study in `study`, a run folder's study.yaml.

    `consent` is that of this process to run the local code that `plugins` names.
    """

    module = "search.workers.worker_main"

    def __init__(
        self, study: Path, device: torch.device, plugins: str | None, consent: str = ""
    ) -> None:
        tasks, self._asking = os.pipe()
        self._hearing, answers = os.pipe()
        arguments = [str(study), "--device", str(device)]
        arguments += ["--tasks", str(tasks), "--answers", str(answers)]
        arguments += ["--plugins", plugins, "--consent", consent] if plugins else []
        try:
            # a session of its own: Ctrl-C reaches the study first, and all of it can be ended
            self._process = subprocess.Popen(
                module_command(self.module, *arguments),
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr.fileno() if _is_open(sys.stderr) else subprocess.DEVNULL,
                env=module_environment(),
                pass_fds=(tasks, answers),
                start_new_session=True,
            )
        finally:
            os.close(tasks)
            os.close(answers)
        self._sender, self._receiver = Sender(self._asking), Receiver(self._hearing)

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, message: dict[str, Any]) -> None:
        """WorkerDied if nobody is there to hear it."""
        try:
            self._sender.send(message)
        except BrokenPipeError:
            raise WorkerDied(self._how()) from None

    def receive(self, timeout_seconds: float) -> tuple[dict[str, Any], bytes] | None:
        """The next message and its payload, None if none came in time; WorkerDied."""
        try:
            said = self._receiver.receive(timeout_seconds)
            if said is None and not self.is_alive():
                said = self._receiver.receive(0.0)  # its last words
                if said is None:  # what it has started may live on and keep the pipe open
                    raise EOFError
        except EOFError:
            raise WorkerDied(self._how()) from None
        return said

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def fileno(self) -> int:
        """File descriptor that is readable when the worker has written, or has died."""
        return self._hearing

    def ask_to_stop(self) -> None:
        self._signal(signal.SIGTERM)

    def end(self) -> None:
        """Ends the process and all that it started, whatever they are doing."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for descriptor in (self._asking, self._hearing):
            with suppress(OSError):
                os.close(descriptor)

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    def _how(self) -> str:
        try:
            code = self._process.wait(ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            return "it closed its pipe"
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _is_open(stream: Any) -> bool:
    try:
        stream.fileno()
    except (AttributeError, OSError, ValueError):
        return False
    return True

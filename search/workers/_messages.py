"""Messages between a study and its worker, over two pipes.

A message is a JSON object on a line; if it has `payload`, so many bytes follow.
"""

from __future__ import annotations

import json
import os
import select
import time
from typing import Any

_AT_ONCE = 1 << 20  # bytes


class Sender:
    """Writes messages to a pipe."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def send(self, message: dict[str, Any], payload: bytes = b"") -> None:
        """BrokenPipeError if nobody reads any more."""
        if payload:
            message = {**message, "payload": len(payload)}
        for part in (json.dumps(message).encode() + b"\n", payload):
            left = memoryview(part)
            while left:
                left = left[os.write(self._descriptor, left) :]


class Receiver:
    """Reads messages from a pipe; never waits for longer than asked."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._read = bytearray()
        self._end_of_line = -1

    def receive(self, timeout_seconds: float) -> tuple[dict[str, Any], bytes] | None:
        """The next message and its payload, None if it has not come as a whole by then.

        EOFError if nobody writes any more.
        """
        deadline = time.monotonic() + timeout_seconds
        while (whole := self._take()) is None:
            left = max(0.0, deadline - time.monotonic())
            ready, _, _ = select.select([self._descriptor], [], [], left)
            if not ready:
                return None
            new = os.read(self._descriptor, _AT_ONCE)
            if not new:
                raise EOFError
            self._read += new
        return whole

    def _take(self) -> tuple[dict[str, Any], bytes] | None:
        """A message off what has been read, if it is there as a whole."""
        if self._end_of_line < 0:
            self._end_of_line = self._read.find(b"\n")
            if self._end_of_line < 0:
                return None
        start = self._end_of_line + 1
        message: dict[str, Any] = json.loads(self._read[:start])
        end = start + message.pop("payload", 0)
        if len(self._read) < end:
            return None
        payload = bytes(self._read[start:end])
        del self._read[:end]
        self._end_of_line = -1
        return message, payload

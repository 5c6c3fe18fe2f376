from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.workers._messages import Receiver, Sender

JSON = st.dictionaries(
    st.text().filter(lambda key: key != "payload"),
    st.none() | st.booleans() | st.integers() | st.text(),
)


@contextmanager
def a_pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    try:
        yield ends
    finally:
        for end in ends:
            try:
                os.close(end)
            except OSError:
                continue


@given(st.lists(st.tuples(JSON, st.binary(max_size=100_000)), max_size=4))
def test_what_is_sent_is_received_in_order(messages: list[tuple[dict[str, object], bytes]]) -> None:
    with a_pipe() as (reading, writing):
        sender, receiver = Sender(writing), Receiver(reading)

        def send() -> None:
            for message, payload in messages:
                sender.send(message, payload)

        thread = Thread(target=send)
        thread.start()
        assert [receiver.receive(10) for _ in messages] == messages
        thread.join()


def test_what_has_not_come_as_a_whole_is_waited_for_next_time() -> None:
    with a_pipe() as (reading, writing):
        receiver = Receiver(reading)
        os.write(writing, b'{"a"')
        assert receiver.receive(0) is None
        os.write(writing, b': 1, "payload": 3}\nxy')
        assert receiver.receive(0) is None
        os.write(writing, b"z{}\n")
        assert receiver.receive(0) == ({"a": 1}, b"xyz")
        assert receiver.receive(0) == ({}, b"")


def test_an_end_that_is_closed_is_told_from_one_that_is_silent() -> None:
    with a_pipe() as (reading, writing):
        assert Receiver(reading).receive(0) is None
        os.close(writing)
        with pytest.raises(EOFError):
            Receiver(reading).receive(1)

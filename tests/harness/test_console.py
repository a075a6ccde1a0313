from __future__ import annotations

import itertools
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vm_harness.console import Cleaner, Console, connect_unix
from vm_harness.errors import ExpectError, HarnessError

SEEN = (
    b"\x1bc\x1b[?7l\x1b[2J\x1b[0mSeaBIOS (version 1.16.2)\r\n"
    b"\x1b[0;1miPXE 1.0.0\x1b[0m -- \x1b[0;36mhttp\r\n"
    b"Press Ctrl-B...\x08 \x08\x08 \x08done\r\n"
    b"\x1b]0;root@n1: ~\x07\x1b[?2004hroot@n1:~# \xc3\xa9\r50%\r100%\r\n"
)
MEANT = (
    "SeaBIOS (version 1.16.2)\niPXE 1.0.0 -- http\nPress Ctrl-B...done\nroot@n1:~# é\r50%\r100%\n"
)


@pytest.fixture
def ends() -> Iterator[tuple[Console, socket.socket]]:
    near, far = socket.socketpair()
    console = Console(near, name="n1")
    yield console, far
    console.close()
    far.close()


def test_cleaner_leaves_the_words() -> None:
    assert Cleaner().feed(SEEN) == MEANT


@given(st.lists(st.integers(0, len(SEEN)), max_size=30))
def test_cleaner_does_not_care_how_the_bytes_are_cut(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(SEEN)]
    cleaner = Cleaner()
    pieces = [cleaner.feed(SEEN[a:b]) for a, b in itertools.pairwise(edges)]
    assert "".join(pieces) == MEANT


def test_expect_goes_on_where_the_last_match_ended(ends: tuple[Console, socket.socket]) -> None:
    console, far = ends
    far.sendall(b"one two one three")
    assert console.expect(r"o(n)e", 5).start() == 0
    assert console.expect(r"one", 5).start() == 8
    with pytest.raises(ExpectError):
        console.expect(r"one", 0.05)
    assert console.expect(r"th\w+", 5)[0] == "three"


def test_expect_sees_what_comes_while_it_waits(ends: tuple[Console, socket.socket]) -> None:
    console, far = ends
    console.on_data(lambda data: far.sendall(b"pong") if data == b"ping" else None)
    far.sendall(b"ping")
    assert console.expect("pong", 5)


def test_skip_forgets_what_was_said(ends: tuple[Console, socket.socket]) -> None:
    console, far = ends
    far.sendall(b"ready ")
    console.expect("re", 5)
    console.skip()
    with pytest.raises(ExpectError):
        console.expect("ady", 0.05)


def test_failure_shows_the_last_forty_lines(ends: tuple[Console, socket.socket]) -> None:
    console, far = ends
    far.sendall("".join(f"line {n}\n" for n in range(100)).encode())
    console.expect("line 99", 5)
    with pytest.raises(ExpectError) as caught:
        console.expect("never", 0.05)
    message = str(caught.value)
    assert "n1: 'never': not within 0.05 s" in message
    assert "    line 60\n" in message
    assert "line 59" not in message


def test_expect_does_not_wait_for_a_console_that_has_ended(
    ends: tuple[Console, socket.socket],
) -> None:
    console, far = ends
    far.sendall(b"last words")
    far.close()
    before = time.monotonic()
    with pytest.raises(ExpectError, match=r"(?s)the console ended.*last words"):
        console.expect("never", 30)
    assert time.monotonic() - before < 5
    assert console.ended
    with pytest.raises(HarnessError, match="gone"):
        console.send("hello?")


def test_times_are_those_of_arrival(ends: tuple[Console, socket.socket]) -> None:
    console, far = ends
    far.sendall(b"early ")
    first = console.expect("early", 5)
    time.sleep(0.2)
    far.sendall(b"late")
    second = console.expect("late", 5)
    gap = console.time_at(second.start()) - console.time_at(first.start())
    assert 0.15 < gap < 2


def test_a_socket_of_a_long_path_is_reached(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    with pytest.raises(HarnessError, match="No such file"):
        connect_unix(str(deep), "s", timeout=0.05)
    with pytest.raises(HarnessError, match="No such file"):
        connect_unix(str(deep), "s", timeout=60, alive=lambda: False)

"""What is read from strace's output: when a call began, and when it ended."""

from __future__ import annotations

from tests.support.strace import SystemCall, calls

OUTPUT = """\
8  <... fsync resumed>) = 0
7  rename("a.json", "a.taken") = 0
7  fsync(5</state/boot-once> <unfinished ...>
8  sendto(9<socket:[1]>, "#!ipxe", 6, 0, NULL, 0) = 6
7  <... fsync resumed>) = 0
7  --- SIGTERM {si_signo=SIGTERM} ---
8  write(3</log>, "x", 1 <unfinished ...>
"""


def test_a_call_that_others_came_between_is_one_call() -> None:
    assert calls(OUTPUT) == [
        SystemCall("rename", '"a.json", "a.taken") = 0', 1, 1),
        SystemCall("sendto", '9<socket:[1]>, "#!ipxe", 6, 0, NULL, 0) = 6', 3, 3),
        SystemCall("fsync", "5</state/boot-once>) = 0", 2, 4),
    ]

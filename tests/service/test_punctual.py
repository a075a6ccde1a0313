"""The event loop's thread alone is given short slices, and whatever it starts is not."""

from __future__ import annotations

import ctypes
import os
import threading
from typing import Any

import pytest

from bootserve.service.punctual import _ATTRIBUTES, be_punctual

SCHED_GETATTR = {"x86_64": 315, "aarch64": 275}
KERNEL = tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2])


def attributes() -> tuple[int, int, int, int]:
    """Return policy, flags, nice and slice of this thread, as sched_getattr(2) says them."""
    said = ctypes.create_string_buffer(_ATTRIBUTES.size)
    number = SCHED_GETATTR[os.uname().machine]
    assert ctypes.CDLL(None).syscall(number, 0, said, _ATTRIBUTES.size, 0) == 0
    _, policy, flags, nice, _, runtime, _, _ = _ATTRIBUTES.unpack(said.raw)
    return policy, flags, nice, runtime


def test_the_thread_that_asks_has_short_slices_and_its_threads_have_not() -> None:
    """Before Linux 6.12 what it starts not inheriting it shows that the kernel heard it."""
    seen: list[Any] = []

    def asks() -> None:
        seen.append(attributes())
        seen.append(be_punctual())
        seen.append(attributes())
        other = threading.Thread(target=lambda: seen.append(attributes()))
        other.start()
        other.join()

    thread = threading.Thread(target=asks)
    thread.start()
    thread.join()
    before, granted, after, others = seen
    assert granted is True
    policy, flags, nice, usual = before
    assert (policy, flags) == (os.SCHED_OTHER, 0)
    assert usual != 100_000
    assert after == (policy, 1, nice, 100_000 if KERNEL >= (6, 12) else usual)  # reset on fork
    assert others == before


def test_who_was_given_another_scheduler_keeps_it() -> None:
    seen: list[object] = []

    def asks() -> None:
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        seen.extend((be_punctual(), os.sched_getscheduler(0)))

    thread = threading.Thread(target=asks)
    thread.start()
    thread.join()
    assert seen == [False, os.SCHED_BATCH]


def test_where_it_is_forbidden_all_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    class Libc:
        def syscall(self, *_: Any) -> int:
            return -1

    monkeypatch.setattr(ctypes, "CDLL", lambda _name: Libc())
    assert not be_punctual()

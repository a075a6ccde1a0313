"""The event loop's thread alone is given short slices, and whatever it starts is not."""

from __future__ import annotations

import ctypes
import os
import re
import threading
from pathlib import Path
from typing import Any

import pytest

from bootserve.service.punctual import be_punctual


def slice_of_this_thread() -> int:
    """In nanoseconds, as the scheduler has it; 0 when the kernel does not say."""
    said = Path(f"/proc/self/task/{threading.get_native_id()}/sched")
    found = re.search(r"^se\.slice +: +(\d+)", said.read_text() if said.exists() else "", re.M)
    return int(found[1]) if found else 0


def test_the_thread_that_asks_has_short_slices_and_its_threads_have_not() -> None:
    seen: list[object] = []

    def asks() -> None:
        seen.append(slice_of_this_thread())
        seen.append(be_punctual())
        seen.append(slice_of_this_thread())
        other = threading.Thread(target=lambda: seen.append(slice_of_this_thread()))
        other.start()
        other.join()

    thread = threading.Thread(target=asks)
    thread.start()
    thread.join()
    before, granted, after, others = seen
    assert granted
    assert others == before
    assert after in (before, 100_000)  # the same before Linux 6.12


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

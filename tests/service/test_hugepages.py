"""Memory is as it was after it was put into huge pages; where none are wanted, none are used."""

from __future__ import annotations

import asyncio
import hashlib
import random
from pathlib import Path

import pytest

from bootserve.service import hugepages
from bootserve.service.hugepages import keep_huge_pages, use_huge_pages


def in_huge_pages() -> int:
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(one.split()[1]) << 10 for one in lines if one.startswith("AnonHugePages:"))


def test_memory_is_as_it_was_and_what_is_told_is_true() -> None:
    data = bytearray(random.Random(1).randbytes(16 << 20))
    before = hashlib.sha256(data).digest()
    told = use_huge_pages()
    assert hashlib.sha256(data).digest() == before
    assert told <= in_huge_pages()


def test_what_no_memory_is_at_is_not_told() -> None:
    assert not hugepages._collapse(0, 2 << 20)


@pytest.mark.parametrize("text", ["always madvise [never]\n", None])
def test_none_where_there_are_to_be_none(tmp_path: Path, text: str | None) -> None:
    setting = tmp_path / "enabled"
    if text is not None:
        setting.write_text(text)
    before = in_huge_pages()
    data = bytearray(16 << 20)
    assert use_huge_pages(setting) == 0
    assert in_huge_pages() == before
    assert len(data) == 16 << 20


def test_whole_huge_pages_of_private_memory_that_is_no_files() -> None:
    maps = """\
7f0000100000-7f0000900000 rw-p 00000000 00:00 0
7f0000900000-7f0000b00000 rw-p 00000000 00:00 0                          [heap]
7f0010000000-7f0010200000 r--p 00000000 00:00 0
7f0020000000-7f0020400000 rw-p 00000000 fe:00 1234                       /usr/lib/a.so
7f0030000000-7f0030400000 rw-s 00000000 00:01 99                         /dev/zero (deleted)
7f0040100000-7f0040200000 rw-p 00000000 00:00 0
7ffc00000000-7ffc00400000 rw-p 00000000 00:00 0                          [stack]
"""
    assert list(hugepages._ranges(maps)) == [(0x7F0000200000, 0x7F0000800000)]


async def test_at_once_and_again_after_a_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    done: asyncio.Queue[int] = asyncio.Queue()
    loop, revisions, looked = asyncio.get_running_loop(), [1], asyncio.Semaphore(0)

    def revision() -> int:
        looked.release()
        return revisions[0]

    monkeypatch.setattr(hugepages, "KEEP_SECONDS", 0.01)
    monkeypatch.setattr(
        hugepages,
        "use_huge_pages",
        lambda: loop.call_soon_threadsafe(done.put_nowait, revisions[0]),
    )
    task = asyncio.create_task(keep_huge_pages(revision))
    async with asyncio.timeout(30):
        assert await done.get() == 1
        for _ in range(10):  # it looks that often, and sees the revision that it knows
            await looked.acquire()
        assert done.empty()
        revisions[0] = 2
        assert await done.get() == 2
    task.cancel()

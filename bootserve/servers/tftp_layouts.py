"""Which files are kept as ready packets, in bounded memory."""

from __future__ import annotations

import weakref
from collections import OrderedDict

from bootserve.servers.mmsg import message
from bootserve.wire.tftp_blocks import WINDOW_BYTES, Blocks, ReadyBlocks
from bootserve.wire.tftp_options import Terms

__all__ = ["Layouts"]

_LEAST_BLKSIZE = 512
_LEAST_FILE = 64 << 10
_GREATEST_FILE = 8 << 20
"""Bytes of the largest file that is laid out: it is done in one go, in some 10 ms at most."""


class Layouts:
    """The ready packets of the files, block sizes and windows that were asked for last.

    All transfers of a file on the same terms share one buffer. Buffers of ``capacity`` bytes in
    total are kept. Transfers under way may hold on to older ones; once those and the kept come to
    twice the capacity, packets are made one by one: clients that between them ask for every block
    size there is cost time, not memory.
    """

    def __init__(self, capacity: int = 64 << 20) -> None:
        self._capacity = capacity
        self._kept: OrderedDict[tuple[int, int, int], ReadyBlocks] = OrderedDict()
        self._alive: weakref.WeakSet[ReadyBlocks] = weakref.WeakSet()

    @property
    def size(self) -> int:
        """Bytes of all buffers, kept or only held by transfers."""
        return sum(ready.size for ready in self._alive)

    def blocks(self, content: bytes, terms: Terms) -> Blocks:
        """Return ``content`` in blocks as ``terms`` say."""
        # What is kept holds the content, whose id is therefore not given to another object.
        blksize, windowsize = terms.blksize, terms.windowsize
        key = (id(content), blksize, windowsize)
        kept = self._kept.get(key)
        if kept is not None:
            self._kept.move_to_end(key)
            return kept
        plain = Blocks(content, blksize)
        size = len(content) + 4 * plain.count + WINDOW_BYTES * -(-plain.count // windowsize)
        if blksize < _LEAST_BLKSIZE or not _LEAST_FILE <= len(content) <= _GREATEST_FILE:
            return plain
        while self._kept and sum(b.size for b in self._kept.values()) + size > self._capacity:
            self._kept.popitem(last=False)
        if self.size + size > 2 * self._capacity:
            return plain
        ready = self._kept[key] = ReadyBlocks(content, blksize, windowsize, message)
        self._alive.add(ready)
        return ready

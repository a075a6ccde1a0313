"""A file as the DATA packets of one block size (RFC 1350 section 5).

Blocks are numbered from 1 and end with one that is shorter than the rest, maybe empty. On the wire
the number has 16 bits and goes on with 0 after 65,535.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TypeAlias

__all__ = ["Blocks", "Datagram", "ReadyBlocks"]

Datagram: TypeAlias = bytes | memoryview

_HEADER = struct.Struct("!HH")
_DATA = 3


class Blocks:
    """Makes each packet when it is asked for: no memory beside the file's."""

    __slots__ = ("blksize", "content", "count")

    def __init__(self, content: bytes, blksize: int) -> None:
        self.content = content
        self.blksize = blksize
        self.count = len(content) // blksize + 1

    def packets(self, first: int, last: int) -> Sequence[Datagram]:
        """Return the DATA packets of the blocks ``first`` to ``last``, both included."""
        return [self._packet(number) for number in range(first, last + 1)]

    def _packet(self, number: int) -> bytes:
        start = (number - 1) * self.blksize
        payload = self.content[start : start + self.blksize]
        return _HEADER.pack(_DATA, number & 0xFFFF) + payload


class ReadyBlocks(Blocks):
    """Holds all packets ready in one buffer, for a file that many clients fetch.

    It costs the file's size and four bytes a block, and making it as long as sending some
    hundred blocks. Block n begins at (n - 1) * ``stride`` of ``buffer``, so that a run of packets
    is one contiguous piece of it, as UDP_SEGMENT wants it.
    """

    __slots__ = ("__weakref__", "_packets", "buffer", "stride")

    def __init__(self, content: bytes, blksize: int) -> None:
        super().__init__(content, blksize)
        self.stride = blksize + _HEADER.size
        self.buffer = b"".join([self._packet(number) for number in range(1, self.count + 1)])
        self._packets = memoryview(self.buffer)

    @property
    def size(self) -> int:
        """Bytes of the buffer."""
        return len(self.buffer)

    def packets(self, first: int, last: int) -> Sequence[Datagram]:
        """Return the DATA packets of the blocks ``first`` to ``last``, both included."""
        stride = self.stride
        end = first * stride
        if first == last:
            return (self._packets[end - stride : end],)
        return [
            self._packets[start : start + stride]
            for start in range(end - stride, last * stride, stride)
        ]

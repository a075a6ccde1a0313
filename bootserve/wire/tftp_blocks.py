"""A file as the DATA packets of one block size (RFC 1350 section 5).

Blocks are numbered from 1 and end with one that is shorter than the rest, maybe empty. On the wire
the number has 16 bits and goes on with 0 after 65,535.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import TypeAlias

__all__ = ["NO_WINDOW", "WINDOW_BYTES", "Blocks", "Datagram", "ReadyBlocks", "Window"]

Datagram: TypeAlias = bytes | memoryview

_HEADER = struct.Struct("!HH")
_DATA = 3
_ACK = 4
WINDOW_BYTES = 480
"""Memory that one :class:`Window` takes, about."""


class Window:
    """The blocks ``first`` to ``last``, which are sent together, and what follows them.

    ``ack`` is the packet that acknowledges them when more is to come, and ``awaited`` the same as
    a number, big end first; None and -1 when there is none. Then comes ``next``. ``run`` are the
    packets, one behind the other, and ``message`` is what the server sends those by. ``segment``
    is the size in bytes of each packet but the last, 0 when there is one only.
    """

    __slots__ = ("ack", "awaited", "first", "last", "message", "next", "run", "segment")

    def __init__(self, first: int, last: int, following: Window | None) -> None:
        self.first = first
        self.last = last
        self.next = self if following is None else following
        self.ack = None if following is None else _HEADER.pack(_ACK, last & 0xFFFF)
        self.awaited = -1 if self.ack is None else int.from_bytes(self.ack, "big")
        self.run = memoryview(b"")
        self.message = b""
        self.segment = 0


NO_WINDOW = Window(0, 0, None)
"""Stands where no ACK is awaited."""


class Blocks:
    """Makes each packet when it is asked for: no memory beside the file's."""

    __slots__ = ("blksize", "content", "count")

    def __init__(self, content: bytes, blksize: int) -> None:
        self.content = content
        self.blksize = blksize
        self.count = len(content) // blksize + 1

    def window(self, acked: int) -> Window:
        """Return the window to send behind block ``acked`` when all is ready for it."""
        return NO_WINDOW

    def packets(self, first: int, last: int) -> Sequence[Datagram]:
        """Return the DATA packets of the blocks ``first`` to ``last``, both included."""
        return [self._packet(number) for number in range(first, last + 1)]

    def _packet(self, number: int) -> bytes:
        start = (number - 1) * self.blksize
        payload = self.content[start : start + self.blksize]
        return _HEADER.pack(_DATA, number & 0xFFFF) + payload


class ReadyBlocks(Blocks):
    """Holds all packets ready in one buffer, for a file that many clients fetch in like windows.

    It costs the file's size and some bytes for each block, and making it as long as sending some
    hundred blocks. Block n begins at (n - 1) * ``stride`` of ``buffer``, so that a run of packets
    is one contiguous piece of it, as UDP_SEGMENT wants it. ``message`` is given the buffer, and
    where in it a window begins and its bytes, and makes :attr:`Window.message`.
    """

    __slots__ = ("__weakref__", "_packets", "_windows", "_windowsize", "buffer", "stride")

    def __init__(
        self,
        content: bytes,
        blksize: int,
        windowsize: int = 1,
        message: Callable[[bytes, int, int], bytes] = lambda buffer, start, size: b"",
    ) -> None:
        super().__init__(content, blksize)
        self.stride = blksize + _HEADER.size
        self.buffer = b"".join([self._packet(number) for number in range(1, self.count + 1)])
        self._packets = memoryview(self.buffer)
        self._windowsize = windowsize
        self._windows = self._chain(message)

    def _chain(self, message: Callable[[bytes, int, int], bytes]) -> list[Window]:
        """Return all windows in order, each leading to the one behind it."""
        following, windows = None, []
        for acked in reversed(range(0, self.count, self._windowsize)):
            last = min(acked + self._windowsize, self.count)
            window = following = Window(acked + 1, last, following)
            start, end = acked * self.stride, min(last * self.stride, len(self.buffer))
            window.run = self._packets[start:end]
            window.segment = self.stride if last > window.first else 0
            window.message = message(self.buffer, start, end - start)
            windows.append(window)
        return windows[::-1]

    @property
    def size(self) -> int:
        """Bytes that it takes, about."""
        return len(self.buffer) + WINDOW_BYTES * len(self._windows)

    def window(self, acked: int) -> Window:
        """Return the window to send behind block ``acked``, if one begins there."""
        number, rest = divmod(acked, self._windowsize)
        return NO_WINDOW if rest or acked >= self.count else self._windows[number]

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

"""The server's end of its TFTP worker: starts it, answers its questions, starts it again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections import OrderedDict
from collections.abc import Callable

from bootserve.errors import BootserveError
from bootserve.servers.child import Child
from bootserve.servers.pipe import Message, Pipe, PipeClosed
from bootserve.servers.tftp_engine import find_file
from bootserve.servers.tftp_events import TftpEvent, TftpEventKind
from bootserve.servers.tftp_pipe import unpack_event

__all__ = ["TftpChild"]

_CONTENTS = 8
_UNANSWERED = 1024
"""Questions that wait for room in the pipe at most; a worker asks again what it has to know."""


class _Contents:
    """Files that were given to a worker lately, each as a number and a file in memory."""

    def __init__(self) -> None:
        self._kept: OrderedDict[int, tuple[bytes, int, int]] = OrderedDict()
        self._last = 0

    def share(self, content: bytes) -> tuple[int, int]:
        """Return the number of ``content`` and a file descriptor, which stays this object's."""
        kept = self._kept.get(id(content))
        if kept is None:
            self._last += 1
            # The content is kept as well, so that its id is not given to another.
            kept = self._kept[id(content)] = content, self._last, _file_of(content)
        self._kept.move_to_end(id(content))
        if len(self._kept) > _CONTENTS:
            os.close(self._kept.popitem(last=False)[1][2])
        return kept[1:]

    def close(self) -> None:
        """Give the files back."""
        while self._kept:
            os.close(self._kept.popitem()[1][2])


def _file_of(content: bytes) -> int:
    fd = os.memfd_create("nbp", os.MFD_CLOEXEC)
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]
    return fd


class TftpChild:
    """Runs a worker for the socket ``requests``, for as long as it is started.

    ``terms`` are the worker's bounds. ``lookup`` and ``on_event`` are called on the loop. A worker
    that ends by itself is an event of kind TROUBLE, and another takes its place; the transfers
    that it had are lost, and their clients ask again.
    """

    def __init__(
        self,
        requests: socket.socket,
        terms: dict[str, int],
        lookup: Callable[[str], bytes],
        on_event: Callable[[TftpEvent], None],
    ) -> None:
        self._lookup = lookup
        self._on_event = on_event
        self._contents = _Contents()
        self._unanswered: dict[str, None] = {}
        self._child = Child(
            "TFTP",
            "bootserve.servers.tftp_worker",
            [json.dumps(terms)],
            [requests.fileno()],
            take=self._take,
            closed=self._unanswered.clear,
            trouble=self._tell,
        )

    @property
    def pid(self) -> int | None:
        """The worker's process id, None before the start."""
        return self._child.pid

    async def start(self) -> None:
        """Start a worker; raises Unavailable when it does not begin to serve."""
        await self._child.start()

    def again(self, address: str) -> None:
        """Tell the worker that the machine at ``address`` starts anew, if there is room for it."""
        self._child.send({"again": address})

    async def stop(self) -> None:
        """Let the worker tell its clients and end; kill it if it does not."""
        await self._child.stop()
        self._contents.close()

    def _tell(self, detail: str, left_out: int = 0) -> None:
        self._on_event(TftpEvent(TftpEventKind.TROUBLE, ("", 0), detail=detail, left_out=left_out))

    def _take(self, pipe: Pipe, message: Message) -> None:
        if "find" in message:
            self._answer(pipe, message["find"])
        else:
            for fields in message["events"]:
                self._on_event(unpack_event(fields))
            if message["left_out"]:
                left_out = message["left_out"]
                self._tell(f"{left_out} more requests came to nothing", left_out)

    def _answer(self, pipe: Pipe, name: str) -> None:
        """Answer with a file, as soon as there is room for it."""
        if not self._unanswered and self._send_answer(pipe, name):
            return
        self._unanswered[name] = None
        if len(self._unanswered) > _UNANSWERED:
            del self._unanswered[next(iter(self._unanswered))]
        asyncio.get_running_loop().add_writer(pipe, self._on_writable)

    def _on_writable(self) -> None:
        """Answer what waits, as far as there is room."""
        pipe = self._child.pipe
        if pipe is None:
            return
        with contextlib.suppress(PipeClosed):  # what is left then goes with the pipe
            while self._unanswered:
                name = next(iter(self._unanswered))
                if not self._send_answer(pipe, name):
                    return
                del self._unanswered[name]
        asyncio.get_running_loop().remove_writer(pipe)

    def _send_answer(self, pipe: Pipe, name: str) -> bool:
        """Answer with a file or an error; return whether there was room."""
        try:
            number, fd = self._contents.share(find_file(self._lookup, name))
        except BootserveError as error:
            refused = str(error), error.hint, error.tftp_code
            return pipe.send({"found": name, "refused": refused})
        return pipe.send({"found": name, "content": number}, fd)

"""The process that serves TFTP: ``python -m bootserve.servers.tftp_worker UDP PIPE TERMS``.

Packets come by the hundred thousand a second, and must neither wait for the event loop that serves
DHCP and HTTP, nor make those wait. So this process does nothing else. It
holds no rights, opens no file, and asks the server for each file by name over the pipe.
"""

from __future__ import annotations

import contextlib
import gc
import json
import resource
import select
import socket
import sys
import time
from collections import deque
from itertools import islice
from typing import Any

from bootserve.servers.confine import confine
from bootserve.servers.pipe import Pipe, PipeClosed
from bootserve.servers.tftp_answers import Answers
from bootserve.servers.tftp_engine import TftpEngine
from bootserve.servers.tftp_events import TftpEvent, TftpEventKind
from bootserve.servers.tftp_loop import TftpLoop
from bootserve.servers.tftp_pipe import pack_event
from bootserve.wire.tftp_options import Limits

__all__ = ["Worker", "main"]

_WAKE = 0.1
"""Seconds between two looks at the pipe while transfers are under way."""
_UNSENT = 10_000
_EVENTS_IN_MESSAGE = 64
_COUNT_EVERY = 1.0
_OTHER_FILES = 64
"""Descriptors that are no transfer's: the two sockets, the files that are served."""
_CHEAP_EVENTS = 20
"""Events of clients that never answered that are told of in a second."""


class Worker:
    """Serves what comes to ``requests`` until told to stop, or until the server is gone."""

    def __init__(self, requests: socket.socket, pipe: Pipe, terms: dict[str, int]) -> None:
        self._pipe = pipe
        self._answers = Answers(pipe)
        self._unsent: deque[list[Any]] = deque()
        self._left_out = self._cheap = 0
        self._count_at = 0.0
        self._engine = TftpEngine(
            lookup=self._answers.find,
            on_event=self._note,
            limits=Limits(terms["blksize"], terms["windowsize"]),
            max_transfers=min(terms["max_transfers"], _room()),
            max_per_address=terms["max_per_address"],
        )
        self._loop = TftpLoop(requests, self._engine)

    def run(self) -> None:
        """Serve until the server says to stop, or is gone; then tell the clients and the server."""
        try:
            self._pipe.send({"ready": True})
            self._serve()
        except PipeClosed:
            pass
        self._loop.close()
        with contextlib.suppress(PipeClosed):
            self._tell(all_of_it=True)

    def _serve(self) -> None:
        look_at, stopping = 0.0, False
        while not stopping:
            now = time.monotonic()
            if now < look_at and not self._is_quiet():
                self._loop.run(look_at)
            else:
                look_at = now + _WAKE
                packets = self._wait()
                stopping = self._read_pipe()
                # Also when stopping: what has come may be the ACK that completes a transfer.
                if packets:
                    self._loop.turn()
                else:
                    self._loop.tick(time.monotonic())
            self._tell()

    def _is_quiet(self) -> bool:
        """Whether something else than a packet may be what comes next."""
        return not len(self._engine) or self._answers.waiting or bool(self._unsent)

    def _wait(self) -> bool:
        """Wait for a packet or a message; return whether there is a packet."""
        poll = select.poll()
        poll.register(self._loop, select.POLLIN)
        poll.register(self._pipe, select.POLLIN | (select.POLLOUT if self._unsent else 0))
        ready = poll.poll(1000 * _WAKE if len(self._engine) or self._left_out else None)
        return any(fd == self._loop.fileno() for fd, _ in ready)

    def _read_pipe(self) -> bool:
        """Take the server's answers; return whether it says to stop."""
        while (received := self._pipe.receive()) is not None:
            message, fds = received
            if "stop" in message:
                return True
            if "again" in message:
                self._engine.again(message["again"])
                continue
            self._loop.resume(self._answers.take(message, fds[0] if fds else None))
            self._answers.forget_refusal()
        return False

    def _note(self, event: TftpEvent) -> None:
        """Keep an event for the server, which need not know of every request.

        What a stranger can cause without ever answering is told of some times a second, and
        counted beyond that: neither the server nor its log shall grow with a flood.
        """
        if event.kind is TftpEventKind.STARTED:
            return
        cheap = event.kind is not TftpEventKind.COMPLETED and not event.bytes_sent
        self._cheap += cheap
        if len(self._unsent) >= _UNSENT or (cheap and self._cheap > _CHEAP_EVENTS):
            self._left_out += 1
        else:
            self._unsent.append(pack_event(event))

    def _tell(self, *, all_of_it: bool = False) -> None:
        """Tell the server what happened, as far as there is room."""
        while self._unsent:
            told = list(islice(self._unsent, _EVENTS_IN_MESSAGE))
            if not self._pipe.send({"events": told, "left_out": 0}):
                return
            for _ in told:
                self._unsent.popleft()
        now = time.monotonic()
        if now >= self._count_at or all_of_it:
            self._count_at, self._cheap = now + _COUNT_EVERY, 0
            if self._left_out and self._pipe.send({"events": [], "left_out": self._left_out}):
                self._left_out = 0


def _room() -> int:
    """Return how many transfers can have a socket each."""
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, most - _OTHER_FILES)


def main() -> None:
    """Serve the socket and the pipe that were inherited as file descriptors."""
    requests, pipe = (socket.socket(fileno=int(number)) for number in sys.argv[1:-1])
    confine()
    gc.freeze()
    Worker(requests, Pipe(pipe), json.loads(sys.argv[-1])).run()


if __name__ == "__main__":
    main()

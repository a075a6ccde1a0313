"""The files that the TFTP worker knows, and how it asks the server for those it does not."""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from typing import Any

from bootserve.errors import Unavailable
from bootserve.servers.pipe import Pipe
from bootserve.servers.tftp_pipe import RemoteError, read_content

__all__ = ["Answers"]

_FRESH = 1.0
"""Seconds for which an answer is good: a storm of requests asks the server once a second."""
_ASK_AGAIN = 1.0
_CONTENTS = 8
_NAMES = 64
_QUESTIONS = 256
"""Questions that wait for an answer at most: random names shall not keep the server busy."""


class Answers:
    """The files that this process knows, and those it asked for.

    ``find`` is the engine's lookup. ``take`` takes an answer of the server.
    """

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._contents: OrderedDict[int, bytes] = OrderedDict()
        self._known: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
        self._asked: dict[str, float] = {}
        self._refused: dict[str, RemoteError] = {}

    @property
    def waiting(self) -> bool:
        """Whether an answer of the server is expected."""
        return bool(self._asked)

    def find(self, name: str) -> bytes | None:
        """Return a file's content; None while the server is asked.

        Raises what the server answered, and Unavailable when too many questions wait.
        """
        if name in self._refused:
            raise self._refused[name]
        at, content = self._known.get(name, (0.0, None))
        now = time.monotonic()
        if content is not None and now - at < _FRESH:
            return content
        if name in self._asked and now - self._asked[name] < _ASK_AGAIN:
            return None
        if self._ask(name, now):
            return None
        if content is None:
            raise Unavailable("busy: too many files are asked for")
        return content

    def _ask(self, name: str, now: float) -> bool:
        """Ask the server; return whether there was room for the question."""
        if len(self._asked) >= _QUESTIONS:
            self._asked = {n: at for n, at in self._asked.items() if now - at < _ASK_AGAIN}
        room = len(self._asked) < _QUESTIONS and self._pipe.send({"find": name})
        if room:
            self._asked[name] = now
        return room

    def take(self, message: dict[str, Any], fd: int | None) -> str:
        """Take an answer; return the name of the file that it is about."""
        name: str = message["found"]
        self._asked.pop(name, None)
        if fd is None:
            self._known.pop(name, None)
            self._refused = {name: RemoteError(*message["refused"])}
            return name
        self._refused = {}
        self._known[name] = time.monotonic(), self._content(message["content"], fd)
        self._known.move_to_end(name)
        if len(self._known) > _NAMES:
            self._known.popitem(last=False)
        return name

    def forget_refusal(self) -> None:
        """Ask again when it is asked for again: what was refused may be there then."""
        self._refused = {}

    def _content(self, number: int, fd: int) -> bytes:
        """Return the content of that number: one object for all transfers of it."""
        known = self._contents.get(number)
        if known is None:
            known = self._contents[number] = read_content(fd)
        else:
            os.close(fd)
        self._contents.move_to_end(number)
        if len(self._contents) > _CONTENTS:
            self._contents.popitem(last=False)
        return known

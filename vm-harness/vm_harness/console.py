"""A VM's serial console: what it said, when, and waiting for what it will say."""

from __future__ import annotations

import codecs
import contextlib
import os
import re
import socket
import threading
import time
from bisect import bisect_right
from collections.abc import Callable

from vm_harness.errors import ExpectError, HarnessError

__all__ = ["Cleaner", "Console", "connect_unix"]

_WIPE = re.compile(r"\x08 \x08")
_CONTROL = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"  # OSC: titles
    r"|\x1b[ -/]*[0-Zc-~]"  # the rest
    r"|[\x00\x07\x08]|\r(?=\n)"
)
_MAYBE_UNFINISHED = re.compile(r"(?:\x1b(?:\[[0-?]*[ -/]*|\][^\x07\x1b]{0,200}\x1b?)?|\x08 ?|\r)\Z")
_TAIL_LINES = 40


class Cleaner:
    """Turns a console's bytes, in any pieces, into text without escape sequences and backspaces.

    SeaBIOS and OVMF draw with cursor movements, iPXE wipes out its prompts with backspaces; a
    pattern should not have to know. Line ends become a single newline; a lone carriage return
    stays.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._pending = ""

    def feed(self, data: bytes) -> str:
        """Return the text that ``data`` completes; an unfinished sequence waits for its rest."""
        text = _WIPE.sub("", self._pending + self._decoder.decode(data))
        unfinished = _MAYBE_UNFINISHED.search(text)
        self._pending = unfinished[0] if unfinished else ""
        return _CONTROL.sub("", text[: len(text) - len(self._pending)])


def connect_unix(
    directory: str, name: str, *, timeout: float = 10, alive: Callable[[], bool] = lambda: True
) -> socket.socket:
    """Return a stream connected to the Unix socket ``name`` in ``directory``, when it is there.

    The path goes through /proc/self/fd, so ``directory`` may be longer than a socket's path.
    Raises HarnessError when nothing listens within ``timeout`` seconds, or ``alive`` says that
    nothing ever will.
    """
    handle = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    deadline = time.monotonic() + timeout
    try:
        while True:
            stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                stream.connect(f"/proc/self/fd/{handle}/{name}")
            except OSError as error:
                stream.close()
                if time.monotonic() > deadline or not alive():
                    raise HarnessError(f"{directory}/{name}: {error.strerror}") from None
                time.sleep(0.01)
            else:
                return stream
    finally:
        os.close(handle)


class Console:
    """The console over a connected stream; a thread reads it until the stream ends or close().

    ``text`` is all that was said, cleaned. Reading never waits for the reader of ``text``, so a
    guest is never held up by its console.
    """

    def __init__(self, stream: socket.socket, *, name: str = "console") -> None:
        self.name = name
        self._stream = stream
        self._text = ""
        self._position = 0
        self._arrivals: list[tuple[int, float]] = []
        self._changed = threading.Condition()
        self._ended = False
        self._listeners: list[Callable[[bytes], None]] = []
        self._thread = threading.Thread(target=self._read, name=f"console-{name}", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        cleaner = Cleaner()
        while True:
            try:
                data = self._stream.recv(65536)
            except OSError:
                data = b""
            with self._changed:
                if not data:
                    self._ended = True
                    self._changed.notify_all()
                    return
                self._text += cleaner.feed(data)
                self._arrivals.append((len(self._text), time.monotonic()))
                self._changed.notify_all()
                listeners = tuple(self._listeners)
            for listener in listeners:
                listener(data)

    @property
    def text(self) -> str:
        """All text since the stream was connected."""
        with self._changed:
            return self._text

    @property
    def ended(self) -> bool:
        """Whether the other end is gone."""
        with self._changed:
            return self._ended

    def on_data(self, listener: Callable[[bytes], None]) -> None:
        """Have the reading thread call ``listener`` with each piece of raw bytes from now on."""
        with self._changed:
            self._listeners.append(listener)

    def expect(self, pattern: str | re.Pattern[str], timeout: float) -> re.Match[str]:
        """Wait until ``pattern`` is found after the end of the last match, and return the match.

        A string is a regular expression with MULTILINE. Raises ExpectError, whose message ends with
        the last 40 lines, after ``timeout`` seconds or at once when the console has ended.
        """
        compiled = re.compile(pattern, re.MULTILINE) if isinstance(pattern, str) else pattern
        deadline = time.monotonic() + timeout
        searched = -1
        with self._changed:
            while True:
                if len(self._text) != searched:
                    searched = len(self._text)
                    if match := compiled.search(self._text, self._position):
                        self._position = match.end()
                        return match
                left = deadline - time.monotonic()
                if self._ended or left <= 0:
                    why = "the console ended" if self._ended else f"not within {timeout:g} s"
                    raise ExpectError(f"{self.name}: {compiled.pattern!r}: {why}{self._tail()}")
                self._changed.wait(left)

    def skip(self) -> None:
        """Have the next expect() look only at what comes from now on."""
        with self._changed:
            self._position = len(self._text)

    def time_at(self, offset: int) -> float:
        """Return when the character at ``offset`` of ``text`` arrived (time.monotonic())."""
        with self._changed:
            index = bisect_right(self._arrivals, offset, key=lambda arrival: arrival[0])
            return self._arrivals[index][1]

    def send(self, text: str, *, pace: float = 0.0) -> None:
        """Type ``text``, with ``pace`` seconds after each key; raises HarnessError when it is gone.

        A kernel's console takes text at once. SeaBIOS keeps 15 keys and drops the rest, so what is
        typed at a BIOS or its iPXE needs some 0.03 s a key.
        """
        pieces = [key.encode() for key in text] if pace else [text.encode()]
        try:
            for piece in pieces:
                self._stream.sendall(piece)
                time.sleep(pace)
        except OSError:
            raise HarnessError(f"{self.name}: the VM is gone{self._tail()}") from None

    def tail(self, lines: int = _TAIL_LINES) -> str:
        """Return the last ``lines`` lines of ``text``."""
        return "\n".join(self.text.splitlines()[-lines:])

    def _tail(self) -> str:
        last = self._text.splitlines()[-_TAIL_LINES:]
        return "; its last lines:\n" + "\n".join(f"    {line}" for line in last)

    def close(self) -> None:
        """Disconnect; the text stays."""
        with contextlib.suppress(OSError):  # the other end was first
            self._stream.shutdown(socket.SHUT_RDWR)
        self._thread.join(timeout=10)
        self._stream.close()

"""QEMU's monitor, synchronously: qemu.qmp on a private event loop in a thread."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from qemu.qmp import EventListener, ExecuteError, QMPClient, QMPError

from vm_harness.errors import HarnessError

__all__ = ["Qmp", "QmpEvent"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class QmpEvent:
    """An event: its name (``RESET``, ``SHUTDOWN``, …), its data, when it arrived (monotonic)."""

    name: str
    data: dict[str, Any]
    at: float


class Qmp:
    """A connection to one QEMU, over a connected stream, which it then owns."""

    def __init__(self, stream: socket.socket, *, name: str = "qmp") -> None:
        self.name = name
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._client = QMPClient(name)
        self._changed = threading.Condition()
        self._events: list[QmpEvent] = []
        self._listener: asyncio.Task[None] | None = None
        self._thread.start()
        stream.setblocking(False)
        try:
            self._await(self._connect(stream), 10)
        except HarnessError:
            self.close()
            raise

    async def _connect(self, stream: socket.socket) -> None:
        events = EventListener()
        self._client.register_listener(events)
        await self._client.connect(stream)
        self._listener = asyncio.create_task(self._collect(events))

    async def _collect(self, events: EventListener) -> None:
        async for message in events:
            seen = QmpEvent(str(message["event"]), dict(message.get("data", {})), time.monotonic())  # type: ignore[call-overload]
            with self._changed:
                self._events.append(seen)
                self._changed.notify_all()

    def _await(self, work: Coroutine[Any, Any, T], timeout: float) -> T:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(timeout)
        except TimeoutError:
            future.cancel()
            raise HarnessError(f"{self.name}: QEMU does not answer within {timeout:g} s") from None
        except ExecuteError as error:
            raise HarnessError(f"{self.name}: {error}") from None
        except (QMPError, OSError, EOFError) as error:
            raise HarnessError(f"{self.name}: the connection is gone: {error}") from None

    def execute(self, command: str, *, timeout: float = 30, **arguments: Any) -> Any:
        """Run a QMP command and return its result; underscores in names become hyphens.

        Raises HarnessError when QEMU refuses it, does not answer, or is gone.
        """
        named = {key.replace("_", "-"): value for key, value in arguments.items()}
        return self._await(self._client.execute(command, named), timeout)

    def events(self, name: str) -> list[QmpEvent]:
        """Return the events of this name so far."""
        with self._changed:
            return [event for event in self._events if event.name == name]

    def wait_event(self, name: str, *, count: int = 1, timeout: float) -> QmpEvent:
        """Wait until ``count`` events of this name have been seen and return the last of these.

        Raises HarnessError after ``timeout`` seconds.
        """
        with self._changed:
            found = self._changed.wait_for(lambda: len(self.events(name)) >= count, timeout)
            if not found:
                raise HarnessError(f"{self.name}: no {name} (number {count}) within {timeout:g} s")
            return self.events(name)[count - 1]

    def close(self) -> None:
        """Disconnect and end the thread."""
        asyncio.run_coroutine_threadsafe(self._disconnect(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _disconnect(self) -> None:
        if self._listener:
            self._listener.cancel()
        with contextlib.suppress(QMPError, OSError, EOFError):  # QEMU ended first
            await self._client.disconnect()

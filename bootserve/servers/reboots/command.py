"""Runs a hook's command: without a shell, in a process group of its own, killed when it is late."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections import deque
from collections.abc import Mapping

from bootserve.core.hooks import environment_of
from bootserve.model.hooks import Hook, HookCall, HookOutcome
from bootserve.servers.reboots.result import MAX_OUTPUT, HookResult, tail

__all__ = ["run_command"]

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PASSED_ON = ("CREDENTIALS_DIRECTORY",)
"""What a command gets of the server's own environment: where systemd put its credentials."""
GRACE_SECONDS = 5.0
"""Between SIGTERM and SIGKILL."""
DRAIN_SECONDS = 1.0
"""How long output is read on once the command has ended: what it left running may hold the pipe."""
CHUNK = 4096


async def run_command(hook: Hook, call: HookCall) -> HookResult:
    """Run the command of ``hook`` once and return what became of it; it never raises an error.

    The command's whole process group is killed when it takes longer than ``hook.timeout``, and
    when this call is cancelled.
    """
    said = _Output()
    try:
        process = await _start(hook, call, said.writer)
    except (OSError, ValueError) as error:
        said.close()
        words = error.strerror if isinstance(error, OSError) else str(error)
        return HookResult(
            HookOutcome.FAILED, f"{hook.run[0]} cannot be started: {words}", final=True
        )
    said.watch()
    try:
        outcome, detail = await _finish(process, hook.timeout)
    finally:
        _signal(process, signal.SIGKILL)  # also what the command left behind in its group
        await _ended(process, GRACE_SECONDS)
        await said.rest(DRAIN_SECONDS)
    return HookResult(outcome, detail, tail(said.text))


class _Output:
    """The pipe that a command writes to, read as it comes; of much only the last is kept.

    Of our own, since asyncio's way takes a process as running until its pipes are closed, which
    what it left running may never do.
    """

    def __init__(self) -> None:
        self._reader, self.writer = os.pipe()
        os.set_blocking(self._reader, False)
        self._said: deque[bytes] = deque(maxlen=1 + MAX_OUTPUT // CHUNK * 2)
        self._ended = asyncio.Event()

    @property
    def text(self) -> bytes:
        return b"".join(self._said)

    def watch(self) -> None:
        """Begin to read; the command has its end of the pipe."""
        os.close(self.writer)
        asyncio.get_running_loop().add_reader(self._reader, self._read)

    def _read(self) -> None:
        try:
            chunk = os.read(self._reader, CHUNK)
        except BlockingIOError:
            return
        if not chunk:
            asyncio.get_running_loop().remove_reader(self._reader)
            self._ended.set()
        elif self._said and len(self._said[-1]) + len(chunk) <= CHUNK:
            self._said[-1] += chunk
        else:
            self._said.append(chunk)

    async def rest(self, seconds: float) -> None:
        """Read on to the end, at most so long, and close the pipe."""
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._ended.wait()
        finally:
            asyncio.get_running_loop().remove_reader(self._reader)
            os.close(self._reader)

    def close(self) -> None:
        """Close both ends; nothing was started."""
        os.close(self._reader)
        os.close(self.writer)


async def _start(hook: Hook, call: HookCall, output: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *hook.run,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=output,
        stderr=asyncio.subprocess.STDOUT,
        env=_environment(hook, call, os.environ),
        cwd="/",
        start_new_session=True,
    )


def _environment(hook: Hook, call: HookCall, ours: Mapping[str, str]) -> dict[str, str]:
    passed = {name: ours[name] for name in PASSED_ON if name in ours}
    return {"PATH": PATH, "LANG": "C.UTF-8", **passed, **hook.env, **environment_of(call)}


async def _finish(process: asyncio.subprocess.Process, timeout: float) -> tuple[HookOutcome, str]:
    try:
        async with asyncio.timeout(timeout):
            code = await process.wait()
    except TimeoutError:
        _signal(process, signal.SIGTERM)
        await _ended(process, GRACE_SECONDS)
        return HookOutcome.TIMED_OUT, f"it was killed after {timeout:g} s"
    except asyncio.CancelledError:
        _signal(process, signal.SIGTERM)
        raise
    if code == 0:
        return HookOutcome.SUCCEEDED, "exit code 0"
    if code < 0:
        return HookOutcome.FAILED, f"it was killed by signal {-code}"
    return HookOutcome.FAILED, f"exit code {code}"


async def _ended(process: asyncio.subprocess.Process, seconds: float) -> None:
    """Wait for its end, at most so long."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await process.wait()


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)

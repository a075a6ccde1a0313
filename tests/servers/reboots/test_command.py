"""Real commands: how they are started, what they are told, and how they end."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from bootserve.model.hooks import Hook, HookCall, HookOutcome, HookWhen
from bootserve.servers.reboots import command
from bootserve.servers.reboots.command import run_command
from bootserve.servers.reboots.result import MAX_OUTPUT, HookResult

CALL = HookCall("k", "h", HookWhen.BEFORE, "n1", rack="r1")


async def shell(text: str, *, timeout: float = 60, **env: str) -> HookResult:
    hook = Hook("h", HookWhen.BEFORE, run=("/bin/sh", "-c", text), timeout=timeout, env=env)
    return await run_command(hook, CALL)


def text_of(path: str | Path) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


async def gone(pid: int) -> bool:
    """Whether the process ends, or is a zombie that nobody here reaps."""
    for _ in range(3000):
        if ") Z " in (state := text_of(f"/proc/{pid}/stat")) or not state:
            return True
        await asyncio.sleep(0.01)
    return False


async def pid_in(path: Path) -> int:
    for _ in range(3000):
        if text := text_of(path).strip():
            return int(text)
        await asyncio.sleep(0.01)
    raise AssertionError(f"nothing in {path}")


async def test_success_and_output() -> None:
    done = await shell("echo drained; echo warned >&2")
    assert (done.outcome, done.detail) == (HookOutcome.SUCCEEDED, "exit code 0")
    assert done.output == "drained\nwarned\n"


async def test_its_environment_is_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_SERVER", "x")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/x")
    done = await shell("env; pwd; cat", KUBECONFIG="/etc/kube config")
    lines = done.output.splitlines()
    assert "SECRET_OF_THE_SERVER=x" not in lines
    assert {
        "BOOTSERVE_NODE=n1",
        "BOOTSERVE_RACK=r1",
        "KUBECONFIG=/etc/kube config",
        "CREDENTIALS_DIRECTORY=/run/credentials/x",
        "/",
    } <= set(lines)
    names = {line.partition("=")[0] for line in lines if "=" in line}
    own = {"PATH", "LANG", "CREDENTIALS_DIRECTORY", "KUBECONFIG", "PWD", "SHLVL", "_", "OLDPWD"}
    assert not {name for name in names if not name.startswith("BOOTSERVE_")} - own


async def test_words_reach_it_unchanged_and_through_no_shell() -> None:
    words = ("/usr/bin/printf", "%s|", "a b", "$HOME", "'\"", "*", "", "ü")
    done = await run_command(Hook("h", HookWhen.BEFORE, run=words), CALL)
    assert done.output == "a b|$HOME|'\"|*||ü|"


@pytest.mark.parametrize(
    ("text", "detail"), [("exit 3", "exit code 3"), ("kill -9 $$", "it was killed by signal 9")]
)
async def test_failure_is_told(text: str, detail: str) -> None:
    done = await shell(text)
    assert (done.outcome, done.detail, done.final) == (HookOutcome.FAILED, detail, False)


@pytest.mark.parametrize("program", ["/nowhere/at-all", "/etc/passwd", "/tmp"])
async def test_what_cannot_be_started_is_final(program: str) -> None:
    done = await run_command(Hook("h", HookWhen.BEFORE, run=(program,)), CALL)
    assert (done.outcome, done.final) == (HookOutcome.FAILED, True)
    assert done.detail.startswith(f"{program} cannot be started: ")


async def test_the_whole_group_is_killed_at_the_time_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "GRACE_SECONDS", 0.5)
    pids = tmp_path / "pid"
    text = f"trap '' TERM; (trap '' TERM; echo $BASHPID >{pids}; exec sleep 600) & echo on; wait"
    hook = Hook("h", HookWhen.BEFORE, run=("/bin/bash", "-c", text), timeout=2)
    done = await run_command(hook, CALL)
    assert done.outcome is HookOutcome.TIMED_OUT
    assert (done.detail, done.output) == ("it was killed after 2 s", "on\n")
    assert await gone(await pid_in(pids))


async def test_what_it_leaves_behind_does_not_hold_it_up(tmp_path: Path) -> None:
    """A child in a session of its own keeps the pipe open; the hook has ended all the same."""
    pids = tmp_path / "pid"
    began = time.monotonic()
    leave = f"setsid sh -c 'echo $$ >{pids}; exec sleep 600' &"
    done = await shell(f"{leave} until [ -s {pids} ]; do sleep 0.05; done; echo done")
    assert (done.outcome, done.output) == (HookOutcome.SUCCEEDED, "done\n")
    assert time.monotonic() - began < 60
    os.kill(await pid_in(pids), 9)


async def test_a_cancelled_call_kills_it(tmp_path: Path) -> None:
    pids = tmp_path / "pid"
    task = asyncio.create_task(shell(f"echo $$ >{pids}; exec sleep 600"))
    pid = await pid_in(pids)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await gone(pid)


async def test_of_much_output_the_end_is_kept() -> None:
    done = await shell("yes no | head -c 3000000; echo the end")
    assert done.outcome is HookOutcome.SUCCEEDED
    assert done.output.startswith("[… the beginning is left out]\n")
    assert done.output.endswith("the end\n")
    assert MAX_OUTPUT < len(done.output) < MAX_OUTPUT + 50


async def test_output_of_any_bytes_is_text() -> None:
    assert (await shell(r"printf 'a\0b\377'")).output == "ab�"

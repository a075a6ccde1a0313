"""Runs a shipped hook as bootserve does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bootserve.model.hooks import Hook, HookCall, HookOutcome, HookWhen
from bootserve.servers.reboots.command import run_command

__all__ = ["HOOKS", "run_hook"]

HOOKS = Path(__file__).parents[2] / "deploy/hooks"


async def run_hook(
    name: str,
    *words: str,
    code: int = 0,
    test: bool = False,
    env: Mapping[str, str] | None = None,
    label: str = "",
) -> str:
    """Run a hook for node n1 of reboot-n1-4; it must exit with ``code``. Return what it said.

    ``label`` is KEY=VALUE, a label of the node.
    """
    key, _, value = label.partition("=")
    call = HookCall(
        "reboot-n1-4/hook",
        "hook",
        HookWhen.BEFORE,
        "n1",
        reboot="reboot-n1-4",
        labels=((key, value),) if label else (),
        test=test,
    )
    run = (str(HOOKS / name), *words)
    hook = Hook("hook", HookWhen.BEFORE, run=run, timeout=120, env=env or {})
    done = await run_command(hook, call)
    wanted = HookOutcome.FAILED if code else HookOutcome.SUCCEEDED
    assert (done.outcome, done.detail) == (wanted, f"exit code {code}"), done
    assert "Traceback" not in done.output
    return done.output

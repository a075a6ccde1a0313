"""Hooks: what is run before, for and after a node's reboot, and what became of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar

from bootserve.errors import InvalidInput
from bootserve.model.names import check_name

__all__ = ["Hook", "HookCall", "HookOutcome", "HookRun", "HookWhen", "OnFailure"]

ENV_NAME = re.compile("[A-Za-z_][A-Za-z0-9_]*")
OWN_PREFIX = "BOOTSERVE_"


class HookWhen(StrEnum):
    """When a hook is run: before a node's reboot, after it, or in place of another way to do it."""

    BEFORE = "before"
    AFTER = "after"
    REBOOT = "reboot"


class OnFailure(StrEnum):
    """What a hook's failure means.

    ``stop``: the reboot fails, and with it a rollout's stage. ``skip``: this node is left out, the
    others go on. ``ignore``: it is noted, and the reboot goes on.
    """

    STOP = "stop"
    SKIP = "skip"
    IGNORE = "ignore"


class HookOutcome(StrEnum):
    """What became of one attempt; ``unknown`` when the server ended while it was under way."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed-out"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Hook:
    """One hook, as the settings declare it. Exactly one of ``run`` and ``url`` is given.

    ``run`` is a command's argv, whose program has an absolute path; ``url`` a webhook. ``timeout``
    is seconds for one attempt. After a failure there are ``retries`` more, the first after
    ``pause`` seconds, each later one after twice as long. Empty ``racks`` and ``roles`` mean all.
    ``secret_file`` holds the key that signs a webhook's body, ``ca_file`` the authorities that its
    server's certificate is checked against in place of the system's. ``env`` is added to a
    command's environment.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    name: str
    when: HookWhen
    run: tuple[str, ...] = ()
    url: str = ""
    timeout: float = 300.0
    retries: int = 2
    pause: float = 10.0
    racks: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    on_failure: OnFailure = OnFailure.STOP
    secret_file: str = ""
    ca_file: str = ""
    env: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check what the types do not; raises InvalidInput that names the hook."""
        check_name(self.name, "hook name")
        for wrong, words in (*self._shape(), *self._numbers(), *self._files()):
            if wrong:
                raise InvalidInput(f"hook {self.name}: {words}")

    def _shape(self) -> list[tuple[bool, str]]:
        return [
            (bool(self.run) == bool(self.url), "give either run, a command, or url, a webhook"),
            (
                bool(self.run) and not self.run[0].startswith("/"),
                "run begins with the absolute path of a program: no shell looks for it",
            ),
            (any("\0" in word for word in self.run), "run holds a null character"),
            (
                bool(self.url) and not re.fullmatch(r"https?://[!-~]+", self.url),
                "url begins with https:// or http:// and holds no blanks",
            ),
            (
                self.when is HookWhen.REBOOT and self.on_failure is OnFailure.IGNORE,
                "on_failure = ignore is for before and after: a node that was not told to reboot"
                " would be waited for in vain",
            ),
        ]

    def _numbers(self) -> list[tuple[bool, str]]:
        return [
            (not 0 < self.timeout <= 86_400, "timeout is seconds, more than 0 and at most 86400"),
            (not 0 <= self.retries <= 100, "retries is from 0 to 100"),
            (not 0 < self.pause <= 3600, "pause is seconds, more than 0 and at most 3600"),
        ]

    def _files(self) -> list[tuple[bool, str]]:
        own = [name for name in self.env if name.startswith(OWN_PREFIX)]
        odd = [name for name in self.env if not ENV_NAME.fullmatch(name)]
        return [
            (
                bool(self.secret_file or self.ca_file) and not self.url,
                "secret_file and ca_file go with url",
            ),
            (
                any(path and not path.startswith("/") for path in (self.secret_file, self.ca_file)),
                "secret_file and ca_file are absolute paths",
            ),
            (bool(self.env) and not self.run, "env goes with run"),
            (bool(own), f"env: names that begin with {OWN_PREFIX} are the server's own"),
            (bool(odd), f"env: {(odd or [''])[0][:40]!r} is no name of a variable"),
            (any("\0" in value for value in self.env.values()), "env holds a null character"),
        ]


@dataclass(frozen=True, slots=True)
class HookCall:
    """What one call of a hook is about.

    ``key`` is the same for every attempt of one hook for one reboot, so that a repeat can be
    recognised; ``attempt`` counts from 1. ``from_generation`` is what the node runs and
    ``to_generation`` what it is to boot (``IMAGE@N``, empty where that is not known).
    ``rebooted`` tells a hook after the reboot whether there was one. ``test`` is a call that an
    admin asked for, to try the hook: nothing is rebooted.
    """

    key: str
    hook: str
    when: HookWhen
    node: str
    rack: str = ""
    role: str = ""
    macs: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    from_generation: str = ""
    to_generation: str = ""
    reboot: str = ""
    rollout: str = ""
    attempt: int = 1
    rebooted: bool = False
    test: bool = False


@dataclass(frozen=True, slots=True)
class HookRun:
    """One attempt of a hook, on record. Times are seconds since the epoch.

    ``output`` is the end of what it said. ``final`` marks a failure that repeating cannot mend.
    ``wait`` is how many seconds a webhook asked to wait before a repeat.
    """

    hook: str
    when: HookWhen
    attempt: int
    started_at: float
    outcome: HookOutcome = HookOutcome.RUNNING
    ended_at: float | None = None
    detail: str = ""
    output: str = ""
    final: bool = False
    wait: float = 0.0

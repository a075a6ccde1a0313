"""Hooks: whom one concerns, what it is told, how it is signed and when it is tried again."""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Iterable
from hashlib import sha256
from typing import Any

from bootserve.core.jitter import spread_of
from bootserve.model.desired import Node
from bootserve.model.hooks import Hook, HookCall, HookWhen

__all__ = [
    "body_of",
    "environment_of",
    "hooks_for",
    "outline_of",
    "pause_after",
    "signature_of",
    "without_userinfo",
]

_URL = re.compile(r"(https?://)([^/?#\\]*@)?([^/?#\\]*)(.*)")
"""Scheme, userinfo, host and the rest (RFC 3986 section 3.2): nothing before the last @ is host."""

MAX_PAUSE = 600.0
"""Seconds: pauses between attempts grow no further."""


def hooks_for(hooks: Iterable[Hook], node: Node, when: HookWhen) -> tuple[Hook, ...]:
    """Return the hooks that are run at ``when`` for ``node``, in the order of their declaration."""
    return tuple(
        one
        for one in hooks
        if one.when is when
        and (not one.racks or node.rack in one.racks)
        and (not one.roles or node.role in one.roles)
    )


def outline_of(hook: Hook) -> dict[str, Any]:
    """Return what of ``hook`` holds no secret, as JSON has it, for records and for many readers.

    That is of a command its program, of a webhook its scheme and host, and of ``env`` the names.
    """
    return {
        "name": hook.name,
        "when": hook.when.value,
        "run": list(hook.run[:1]),
        "url": _URL.sub(r"\1\3", hook.url),
        "timeout": hook.timeout,
        "retries": hook.retries,
        "pause": hook.pause,
        "racks": list(hook.racks),
        "roles": list(hook.roles),
        "on_failure": hook.on_failure.value,
        "signed": bool(hook.secret_file),
        "env": sorted(hook.env),
    }


def without_userinfo(url: str) -> str:
    """Return the URL of a webhook without the user and password in it."""
    return _URL.sub(r"\1\3\4", url)


def _facts(call: HookCall) -> dict[str, Any]:
    return {
        "key": call.key,
        "hook": call.hook,
        "when": call.when.value,
        "node": call.node,
        "rack": call.rack,
        "role": call.role,
        "macs": list(call.macs),
        "labels": dict(call.labels),
        "from_generation": call.from_generation,
        "to_generation": call.to_generation,
        "reboot": call.reboot,
        "rollout": call.rollout,
        "attempt": call.attempt,
        "rebooted": call.rebooted,
        "test": call.test,
    }


def body_of(call: HookCall) -> bytes:
    """Return the JSON that a webhook is sent: one object, a field for each of HookCall's."""
    return json.dumps(_facts(call), sort_keys=True).encode()


def environment_of(call: HookCall) -> dict[str, str]:
    """Return the variables that a command is told by: ``BOOTSERVE_NODE`` and so on.

    True and false are ``1`` and ``0``; MAC addresses have blanks between them; labels are JSON.
    """
    found = {}
    for name, value in _facts(call).items():
        match value:
            case bool():
                text = str(int(value))
            case list():
                text = " ".join(value)
            case dict():
                text = json.dumps(value, sort_keys=True)
            case _:
                text = str(value)
        found[f"BOOTSERVE_{name.upper()}"] = text
    return found


def signature_of(secret: bytes, body: bytes, at: int) -> str:
    """Return the header that signs ``body`` at ``at`` (seconds since the epoch).

    ``t=AT,v1=HEX``, where HEX is HMAC-SHA256 (RFC 2104) under ``secret`` of AT, a full stop and
    the body: who checks it also refuses an old AT, and with it a copy that is sent again.
    """
    signed = hmac.new(secret, b"%d." % at + body, sha256).hexdigest()
    return f"t={at},v1={signed}"


def pause_after(hook: Hook, failures: int, key: str) -> float:
    """Return how many seconds to wait after that many failures: growing, more or less a quarter.

    ``key`` says which: the hooks of many nodes must not come back all at once.
    """
    grown = min(MAX_PAUSE, hook.pause * 2.0 ** min(max(failures, 1) - 1, 32))
    return grown * (0.75 + spread_of(key) / 131072)

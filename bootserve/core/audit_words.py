"""An audit record in a few words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bootserve.model.audit import AuditKind

__all__ = ["describe"]

MOST_CHANGES = 3
_SHOWN = {"boot_once": "boot-once", "node_mac": "MAC", "nbp_pin": "NBP pin"}


def describe(record: Mapping[str, Any]) -> str:
    """Return what ``record`` says was done, in a line; its message, if any, ends it."""
    try:
        words = _words(record["kind"], record["detail"])
    except (KeyError, TypeError, ValueError, AttributeError):
        words = ""
    told = ": ".join(part for part in (words, record["message"]) if part)
    return told or _plainly(record["detail"])


def _plainly(detail: Any) -> str:
    """Return the plain values of a detail that nothing better is known of."""
    if not isinstance(detail, Mapping):
        return ""
    plain = {name: one for name, one in detail.items() if isinstance(one, str | int) and one != ""}
    return ", ".join(f"{name} {one}" for name, one in plain.items())


def _words(kind: str, detail: Mapping[str, Any]) -> str:
    match kind:
        case AuditKind.REVISION:
            return _changes(detail["changes"])
        case AuditKind.IMPORT:
            return f"{detail['generation']} imported{' again' if detail.get('again') else ''}"
        case AuditKind.REMOVE:
            return f"{detail['generation']} removed"
        case AuditKind.REVOKE:
            return f"{detail['generation']} {'revoked' if detail['revoked'] else 'not revoked'}"
        case AuditKind.NBP:
            return f"NBP {detail['nbp']} {detail['what']}"
        case AuditKind.FORGET:
            return f"discovered machine {detail['mac']} forgotten"
        case AuditKind.RELEASE:
            return "released from its wait" if detail["waited"] else "released"
        case AuditKind.REBOOT:
            how = f" by {detail['method']}" if detail["what"] == "asked for" else ""
            return f"{detail['reboot']} {detail['what']}{how}"
        case AuditKind.RELOAD:
            return "templates, quirks and certificate read again"
        case AuditKind.SERVER:
            return f"bootserve {detail['version']} {detail['what']}s"
        case AuditKind.CHECKPOINT:
            other = detail["other"]
            return f"checkpoint: the {other['chain']} have {other['sequence']} records"
        case AuditKind.PRUNE:
            return ", ".join(f"{count} {name} pruned" for name, count in detail["gone"].items())
    return _node_words(kind, detail)


def _node_words(kind: str, detail: Mapping[str, Any]) -> str:
    match kind:
        case AuditKind.BOOT:
            return f"boots {detail['generation']} at {detail['address']}"
        case AuditKind.BOUND:
            return "boot bound to its token"
        case AuditKind.REPORT:
            runs = f", runs {detail['generation']}" if detail["generation"] else ""
            return f"reports {detail['phase']}{runs}"
        case AuditKind.SEAL:
            return "its upper layer is sealed"
        case AuditKind.DRIFT:
            return f"drift: {detail['state']}, {detail['count']} differences"
        case AuditKind.ONCE:
            what = detail.get("generation") or detail.get("action") or ""
            return f"next boot only: {what} {detail['outcome']}".replace(":  ", ": ")
    return ""


def _changes(changes: list[Mapping[str, Any]]) -> str:
    told = [_change(one) for one in changes[:MOST_CHANGES]]
    more = len(changes) - len(told)
    return "; ".join([*told, *([f"{more} more"] if more else [])])


def _change(one: Mapping[str, Any]) -> str:
    name, before, after = _name(one), one["before"], one["after"]
    if before is None:
        number = after.get("number")
        return f"{name}@{number} set" if number is not None else f"{name} added"
    if after is None:
        return f"{name} removed"
    if one["table"] == "pin":
        return f"{name}@{before['number']} → @{after['number']}"
    differ = ", ".join(f"{key} {before[key]!r} → {after[key]!r}" for key in after)
    return f"{name}: {differ}"


def _name(one: Mapping[str, Any]) -> str:
    table, key = one["table"], [str(word) for word in one["key"]]
    if table in ("pin", "nbp_pin"):
        scope = f"{key[0]}/{key[1]}" if key[1] else key[0]
        return f"{_SHOWN.get(table, table)} {scope} {' '.join(key[2:])}"
    return f"{_SHOWN.get(table, table)} {' '.join(key)}"

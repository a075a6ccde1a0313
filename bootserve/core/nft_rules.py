"""Whether a firewall's rules let a packet in: ``nft -j list ruleset``, read without a kernel.

Sources: libnftables-json(5), nft(8). A rule whose meaning is not known here is never taken for a
match or a miss; it leaves the verdict open.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

__all__ = ["Fate", "Incoming", "Verdict", "judge_ruleset"]

_FAMILIES: Final = ("inet", "ip")
_PASSIVE: Final = frozenset({"counter", "log", "comment", "limit_log", "notrack"})


class Fate(Enum):
    """What becomes of a packet."""

    ACCEPTED = "accepted"
    DROPPED = "dropped"
    UNCERTAIN = "uncertain"


@dataclass(frozen=True, slots=True)
class Incoming:
    """A packet of a client: ``protocol`` is ``udp`` or ``tcp``.

    ``state`` is what conntrack makes of it: ``new`` for a client's first one, ``established`` for
    one that answers the server.
    """

    interface: str
    protocol: str
    port: int
    state: str = "new"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A packet's fate, and the rule or policy that decides it: ``inet filter input, handle 4``."""

    fate: Fate
    where: str = ""


_Chains = Mapping[tuple[str, str, str], Sequence[Mapping[str, Any]]]


def judge_ruleset(document: Mapping[str, Any], packet: Incoming) -> Verdict:
    """Return what the input chains of ``document`` do to ``packet``.

    A packet must pass every base chain of the hook; the first that drops it decides. Raises
    KeyError, TypeError or ValueError for a document that is not nft's.
    """
    items: list[Mapping[str, Any]] = document["nftables"]
    bases = [one["chain"] for one in items if one.get("chain", {}).get("hook") == "input"]
    rules: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for one in (item["rule"] for item in items if "rule" in item):
        rules.setdefault((one["family"], one["table"], one["chain"]), []).append(one)
    found = Verdict(Fate.ACCEPTED)
    for base in sorted(bases, key=lambda one: one.get("prio", 0)):
        if base["family"] not in _FAMILIES:
            continue
        verdict = _base(base, rules, packet)
        if verdict.fate is Fate.DROPPED:
            return verdict
        if verdict.fate is Fate.UNCERTAIN:
            found = verdict
    return found


def _base(base: Mapping[str, Any], rules: _Chains, packet: Incoming) -> Verdict:
    key = (base["family"], base["table"], base["name"])
    verdict = _chain(key, rules, packet, depth=0)
    if verdict is not None:
        return verdict
    where = f"{' '.join(key)}, policy {base.get('policy', 'accept')}"
    return Verdict(Fate.DROPPED if base.get("policy") == "drop" else Fate.ACCEPTED, where)


def _chain(
    key: tuple[str, str, str], rules: _Chains, packet: Incoming, *, depth: int
) -> Verdict | None:
    """Return the verdict of a chain, or None when the packet comes out at its end."""
    if depth > 16:
        return Verdict(Fate.UNCERTAIN, " ".join(key))
    open_question = None
    for rule in rules.get(key, ()):
        where = f"{' '.join(key)}, handle {rule.get('handle', '?')}"
        matches, said = _rule(rule["expr"], packet)
        if matches is False or said is None:
            continue
        kind, target = said
        if matches is None:
            open_question = open_question or Verdict(Fate.UNCERTAIN, where)
            continue
        if kind in ("jump", "goto"):
            inner = _chain((*key[:2], target), rules, packet, depth=depth + 1)
            if inner is None and kind == "jump":
                continue
            return open_question or inner
        if kind == "return":
            return open_question
        return open_question or Verdict(_FATES[kind], where)
    return open_question


_FATES: Final = {"accept": Fate.ACCEPTED, "drop": Fate.DROPPED, "reject": Fate.DROPPED}
_ENDS: Final = ("accept", "drop", "reject", "jump", "goto", "return")


def _rule(
    expressions: Iterable[Mapping[str, Any]], packet: Incoming
) -> tuple[bool | None, tuple[str, str] | None]:
    """Return whether the rule matches (None when that is not known), and what it then does."""
    matches: bool | None = True
    said = None
    for one in expressions:
        ((name, value),) = one.items()
        if name in _ENDS:
            said = (name, value["target"] if isinstance(value, dict) and "target" in value else "")
        elif name == "match":
            answer = _match(value, packet)
            if answer is False:
                return False, None
            matches = answer and matches
        elif name == "vmap":
            matches, said = None, ("vmap", "")
        elif name not in _PASSIVE:
            matches = None
    return matches, said


def _match(match: Mapping[str, Any], packet: Incoming) -> bool | None:
    value = _value_of(match["left"], packet)
    if value is None:
        return None
    if value is False:
        return False
    answer = _is_in(value, match["right"])
    if answer is None:
        return None
    return answer if match.get("op") in ("==", "in") else not answer


def _value_of(left: Any, packet: Incoming) -> Any:
    """Return the packet's value of an expression, None for unknown, False for one it has not."""
    match left:
        case {"meta": {"key": "iifname" | "iif"}}:
            return packet.interface
        case {"meta": {"key": "l4proto"}} | {"payload": {"protocol": "ip", "field": "protocol"}}:
            return packet.protocol
        case {"meta": {"key": "nfproto"}}:
            return "ipv4"
        case {"meta": {"key": "protocol"}}:
            return "ip"
        case {"payload": {"protocol": "ip6" | "icmp" | "icmpv6"}}:
            return False
        case {"payload": {"protocol": protocol, "field": "dport"}}:
            return packet.port if protocol in (packet.protocol, "th") else False
        case {"payload": {"protocol": "udp" | "tcp" as protocol}}:
            return None if protocol == packet.protocol else False
        case {"ct": {"key": "state"}}:
            return packet.state
    return None


def _is_in(value: Any, right: Any) -> bool | None:
    match right:
        case {"set": [*members]}:
            answers = [_is_in(value, one) for one in members]
            return True if True in answers else None if None in answers else False
        case {"range": [low, high]} if isinstance(value, int):
            return bool(low <= value <= high)
        case [*members]:
            return _is_in(value, {"set": members})
        case str() if right.startswith("@"):
            return None
        case str() if right.endswith("*") and isinstance(value, str):
            return value.startswith(right[:-1])
        case str() | int():
            return bool(value == right)
    return None

"""Rulesets as nft lists them: what they do to a client's first packet."""

from __future__ import annotations

from typing import Any

import pytest

from bootserve.core.nft_rules import Fate, Incoming, judge_ruleset

TFTP = Incoming("eth1", "udp", 69)
Json = dict[str, Any]


def match(left: Json, right: Any, op: str = "==") -> Json:
    return {"match": {"op": op, "left": left, "right": right}}


def dport(right: Any, protocol: str = "udp", op: str = "==") -> Json:
    return match({"payload": {"protocol": protocol, "field": "dport"}}, right, op)


def iif(name: Any, op: str = "==") -> Json:
    return match({"meta": {"key": "iifname"}}, name, op)


SADDR = match({"payload": {"protocol": "ip", "field": "saddr"}}, "10.0.0.9")
NEW = match({"ct": {"key": "state"}}, ["established", "related"], "in")
DROP: Json = {"drop": None}
ACCEPT: Json = {"accept": None}
COUNTER: Json = {"counter": {"packets": 0, "bytes": 0}}


def jump(target: str, kind: str = "jump") -> Json:
    return {kind: {"target": target}}


def ruleset(*rules: list[Json], policy: str = "accept", **chains: list[list[Json]]) -> Json:
    names = {"family": "inet", "table": "f"}
    items: list[Json] = [{"metainfo": {}}, {"table": {"family": "inet", "name": "f"}}]
    base = {"name": "in", "type": "filter", "hook": "input", "prio": 0, "policy": policy}
    items.append({"chain": {**names, **base}})
    for chain, content in {"in": list(rules), **chains}.items():
        items += [
            {"rule": {**names, "chain": chain, "handle": handle, "expr": expr}}
            for handle, expr in enumerate(content, 1)
        ]
    return {"nftables": items}


CASES: dict[str, tuple[Json, Fate, str]] = {
    "nothing": ({"nftables": [{"metainfo": {}}]}, Fate.ACCEPTED, ""),
    "a policy": (ruleset(policy="drop"), Fate.DROPPED, "inet f in, policy drop"),
    "a port": (ruleset([dport(69), COUNTER, DROP]), Fate.DROPPED, "inet f in, handle 1"),
    "another port": (ruleset([dport(70), DROP]), Fate.ACCEPTED, ""),
    "not this port": (ruleset([dport(69, op="!="), DROP]), Fate.ACCEPTED, ""),
    "a set": (ruleset([dport({"set": [67, {"range": [68, 70]}]}), DROP]), Fate.DROPPED, "handle 1"),
    "a named set": (ruleset([dport("@ports"), DROP]), Fate.UNCERTAIN, "handle 1"),
    "another protocol": (ruleset([dport(69, "tcp"), DROP]), Fate.ACCEPTED, ""),
    "any transport": (ruleset([dport(69, "th"), DROP]), Fate.DROPPED, "handle 1"),
    "another interface": (ruleset([iif("eth0"), DROP]), Fate.ACCEPTED, ""),
    "interfaces by prefix": (ruleset([iif("eth*"), DROP]), Fate.DROPPED, "handle 1"),
    "all other interfaces": (ruleset([iif("lo", "!="), DROP]), Fate.DROPPED, "handle 1"),
    "accepted before": (ruleset([dport(69), ACCEPT], [DROP]), Fate.ACCEPTED, ""),
    "established": (ruleset([NEW, ACCEPT], policy="drop"), Fate.DROPPED, "policy drop"),
    "somebody's address": (ruleset([SADDR, DROP]), Fate.UNCERTAIN, "handle 1"),
    "somebody's address, another port": (ruleset([dport(22), SADDR, DROP]), Fate.ACCEPTED, ""),
    "an address let in, all else dropped": (
        ruleset([SADDR, ACCEPT], policy="drop"),
        Fate.UNCERTAIN,
        "handle 1",
    ),
    "a jump": (
        ruleset([jump("sub")], sub=[[dport(69), DROP]]),
        Fate.DROPPED,
        "inet f sub, handle 1",
    ),
    "a jump and back": (
        ruleset([jump("sub")], [DROP], sub=[[{"return": None}], [ACCEPT]]),
        Fate.DROPPED,
        "inet f in, handle 2",
    ),
    "a goto does not come back": (
        ruleset([jump("sub", "goto")], [DROP], sub=[[dport(70), DROP]]),
        Fate.ACCEPTED,
        "",
    ),
    "a jump without end": (ruleset([jump("in")]), Fate.UNCERTAIN, "inet f in"),
    "a verdict map": (ruleset([{"vmap": {"key": {}, "data": {}}}]), Fate.UNCERTAIN, "handle 1"),
    "an expression of another age": (ruleset([{"xt": None}, DROP]), Fate.UNCERTAIN, "handle 1"),
    "version 6 of ICMP": (
        ruleset([match({"payload": {"protocol": "icmpv6", "field": "type"}}, "x"), DROP]),
        Fate.ACCEPTED,
        "",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_ruleset(case: str) -> None:
    document, fate, where = CASES[case]
    verdict = judge_ruleset(document, TFTP)
    assert verdict.fate is fate, verdict
    assert where in verdict.where


def test_every_base_chain_must_let_it_in() -> None:
    both = {"nftables": ruleset()["nftables"] + ruleset(policy="drop")["nftables"]}
    assert judge_ruleset(both, TFTP).fate is Fate.DROPPED


def test_chains_of_other_hooks_and_families_do_not_count() -> None:
    document = ruleset(policy="drop")
    for key, value in (("hook", "forward"), ("family", "ip6")):
        chain = dict(document["nftables"][2]["chain"], **{key: value})
        assert judge_ruleset({"nftables": [{"chain": chain}]}, TFTP).fate is Fate.ACCEPTED


def test_an_answer_to_the_server_is_of_an_established_connection() -> None:
    answer = Incoming("eth1", "udp", 40000, "established")
    assert judge_ruleset(ruleset([NEW, ACCEPT], policy="drop"), answer).fate is Fate.ACCEPTED
    assert judge_ruleset(ruleset([dport(69), ACCEPT], policy="drop"), answer).fate is Fate.DROPPED

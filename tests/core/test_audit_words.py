"""An audit record in a line, for every kind that there is."""

from __future__ import annotations

from typing import Any

import pytest

from bootserve.core.audit_words import describe
from bootserve.model.audit import AuditKind

PIN = {"table": "pin", "key": ["rack", "r1", "web"]}
CASES: list[tuple[str, dict[str, Any], str]] = [
    (
        "revision",
        {"changes": [{**PIN, "before": None, "after": {"number": 1}}]},
        "pin rack/r1 web@1 set",
    ),
    (
        "revision",
        {"changes": [{**PIN, "before": {"number": 1}, "after": {"number": 2}}]},
        "pin rack/r1 web@1 → @2",
    ),
    (
        "revision",
        {"changes": [{**PIN, "before": {"number": 1}, "after": None}]},
        "pin rack/r1 web removed",
    ),
    (
        "revision",
        {"changes": [{"table": "node", "key": ["n1"], "before": None, "after": {}}] * 5},
        "node n1 added; node n1 added; node n1 added; 2 more",
    ),
    ("import", {"generation": "web@1", "again": True}, "web@1 imported again"),
    ("boot", {"generation": "web@1", "address": "10.0.0.5"}, "boots web@1 at 10.0.0.5"),
    ("report", {"phase": "up", "generation": ""}, "reports up"),
    ("boot-once", {"outcome": "pending", "action": "local"}, "next boot only: local pending"),
    ("boot-once", {"outcome": "consumed"}, "next boot only: consumed"),
    (
        "checkpoint",
        {"other": {"chain": "boots", "sequence": 7}},
        "checkpoint: the boots have 7 records",
    ),
    ("token", {"action": "revoked", "token": "ci"}, "action revoked, token ci"),
]


@pytest.mark.parametrize(("kind", "detail", "words"), CASES)
def test_what_was_done_in_words(kind: str, detail: dict[str, Any], words: str) -> None:
    assert describe({"kind": kind, "detail": detail, "message": ""}) == words
    assert describe({"kind": kind, "detail": detail, "message": "why"}).endswith("why")


@pytest.mark.parametrize("kind", AuditKind)
@pytest.mark.parametrize("detail", [{}, {"changes": [1]}, {"changes": None}, [], None, {"a": {}}])
def test_a_record_of_another_version_is_described_all_the_same(kind: str, detail: Any) -> None:
    assert describe({"kind": kind, "detail": detail, "message": "why"}).endswith("why")

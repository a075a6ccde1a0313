"""Who is stale, altered and silent, and the text that nodes send."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootserve.core.drift import Verdict, Watch, judge, verdicts
from bootserve.core.drift_text import MAX_ENTRIES, parse_drift
from bootserve.core.heartbeats import HeartbeatBook, Running
from bootserve.core.snapshot import Snapshot
from bootserve.errors import InvalidInput
from bootserve.model.drift import DriftEntry, DriftKind, DriftState
from tests.support.states import generation, node, snapshot, state

STALE, ALTERED, SILENT = DriftState.STALE, DriftState.ALTERED, DriftState.SILENT
WEB = generation("web@1"), generation("web@2")
WATCH = Watch(0.0, 3)
SEAL = "5" * 64


def world(pins: str = "site web@1", boot: str = "pins") -> Snapshot:
    return snapshot(state(node(role="compute", boot=boot), pins=pins), *WEB)


def running(**fields: object) -> Running:
    one = WEB[0]
    root = one.manifest.artifacts["root"].sha256
    made = Running("n1", "b1", one.ref, one.digest, root, "", up_since=0.0, last_seen=1000.0)
    healthy = {"root": root, "agent": True, "sealed": SEAL, "baseline": SEAL}
    return replace(made, **{**healthy, **fields})  # type: ignore[arg-type]


def verdict(one: Running | None, pins: str = "site web@1", now: float = 1010.0) -> Verdict:
    return judge(world(pins).plans["n1"], one, now, WATCH)


def test_a_node_that_is_as_it_should_be_and_one_that_never_was_up() -> None:
    assert not verdict(running()).reasons
    assert not verdict(None).reasons
    assert not verdict(running(agent=False, sealed="", baseline=""), now=9e9).reasons


@pytest.mark.parametrize(
    ("pins", "reason"),
    [
        ("site web@2", "it runs web@1, and would boot web@2 now"),
        ("", "it runs web@1, and would not boot it now: "),
    ],
)
def test_stale(pins: str, reason: str) -> None:
    found = verdict(running(), pins)
    assert found.reasons.keys() == {STALE}
    assert found.reasons[STALE].startswith(reason)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"root": ""}, "its root is no longer the device"),
        ({"root": "e" * 64}, "its root has the digest eeee"),
        ({"drift": "unknown"}, "it cannot tell"),
        ({"baseline": "unknown"}, "it cannot tell"),
        ({"baseline": "6" * 64}, "another snapshot than the one that was sealed"),
        ({"sealed": ""}, "another snapshot than the one that was sealed"),
        ({"drift": "7" * 64}, "has not told yet"),
        ({"drift": "7" * 64, "known": "7" * 64, "count": 1}, "1 path has been altered"),
        ({"drift": "7" * 64, "known": "7" * 64, "count": 5}, "5 paths have been altered"),
    ],
)
def test_altered(fields: dict[str, object], reason: str) -> None:
    found = verdict(running(**fields))
    assert found.reasons.keys() == {ALTERED}
    assert reason in found.reasons[ALTERED]


def test_silent_after_three_heartbeats_that_this_server_could_have_heard() -> None:
    plan = world().plans["n1"]
    one = running(interval=60.0)
    assert not judge(plan, one, 1225.0, WATCH).reasons
    assert judge(plan, one, 1226.0, WATCH).reasons.keys() == {SILENT}
    # the server was away, and has listened since 2000
    since = Watch(2000.0, 3)
    assert not judge(plan, one, 2225.0, since).reasons
    assert judge(plan, one, 2226.0, since).reasons.keys() == {SILENT}
    # it was told to come every ten minutes
    assert not judge(plan, running(interval=600.0), 2225.0, WATCH).reasons


def test_verdicts_are_on_the_nodes_that_there_are() -> None:
    book = HeartbeatBook()
    book.put(running())
    book.put(replace(running(), node="gone", boot="b2"))
    assert [one.plan.node.name for one in verdicts(world(), book, 1.0, WATCH)] == ["n1"]


def test_the_text_of_a_drift() -> None:
    digest = "ab" * 32
    count, entries = parse_drift(
        f"total 7\nchanged file 0644 root:root 12 1716421330.25 {digest} /etc/a b//\n"
        "mount - - - 0 0 - /usr/bin//tmpfs x//y\n"
        "deleted link 0777 1000:www-data 0 -5 - /a\x01b//../c\n".encode()
    )
    assert count == 7
    assert entries == (
        DriftEntry(DriftKind.DELETED, "/a\nb", "link", "0777", "1000:www-data", 0, -5, "", "../c"),
        DriftEntry(
            DriftKind.CHANGED, "/etc/a b", "file", "0644", "root:root", 12, 1716421330.25, digest
        ),
        DriftEntry(DriftKind.MOUNT, "/usr/bin", detail="tmpfs x//y"),
    )


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"total -1",
        b"total 1\nchanged file 0644 root:root 12 0 - etc//",
        b"total 1\nnonsense - - - 0 0 - /x//",
        b"total 1\nmount - - - 0 0 - /x",
        b"total 1\nmount - - - 0 0 - /x//\nmount - - - 0 0 - /y//",
        b"total 9999\n" + b"mount - - - 0 0 - /x//\n" * (MAX_ENTRIES + 1),
    ],
)
def test_a_malformed_text_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidInput):
        parse_drift(text)


@given(st.binary(max_size=300))
def test_no_bytes_do_anything_else(data: bytes) -> None:
    try:
        count, entries = parse_drift(b"total 3\n" + data)
    except InvalidInput:
        return
    assert len(entries) <= count == 3

"""What is known of nodes after a start: their last heartbeats, and who came up since."""

from __future__ import annotations

import pytest

from bootserve.core.heartbeats import Running
from bootserve.model.generation import GenerationRef
from bootserve.store.boots import BootStore
from bootserve.store.database import Database
from bootserve.store.drift import DriftStore
from bootserve.store.records import (
    BootRecord,
    DriftRecord,
    JournalRecord,
    ReportRecord,
    SealRecord,
    TokenRecord,
)
from tests.support.states import generation

WEB = generation("web@7")
ROOT = WEB.manifest.artifacts["root"].sha256


def comes_up(node: str, boot: str, at: float, seal: str = "") -> list[JournalRecord]:
    records: list[JournalRecord] = [
        BootRecord(boot, node, f"m-{node}", "web@7", WEB.digest, 3, at, "10.0.0.1"),
        TokenRecord(boot, f"t-{boot}", at + 1),
        ReportRecord(boot, "up", at + 60, "web@7", ROOT, 20.0, ""),
        ReportRecord(boot, "up", at + 70, "web@7", "", 30.0, "said twice"),
    ]
    return [*records, SealRecord(boot, node, at + 60, seal)] if seal else records


@pytest.fixture
def store(database: Database) -> DriftStore:
    """Heartbeats were saved at 5000; since then n2 has started over and n3 is new."""
    boots, drift = BootStore(database, "j1"), DriftStore(database)
    records = [
        *comes_up("old", "b0", 10.0, "5" * 64),  # and was never heard again
        *comes_up("n1", "b1", 4000.0, "5" * 64),
        *comes_up("n2", "b2", 4000.0, "5" * 64),
        *comes_up("n2", "b3", 5100.0, "6" * 64),
        *comes_up("n3", "b4", 5200.0),
        BootRecord("b5", "n1", "m-n1", "web@7", WEB.digest, 3, 5300.0, "10.0.0.1"),
        DriftRecord("n2", "b3", 5170.0, "altered", 1, "7" * 64, ""),
    ]
    boots.apply(list(enumerate(records, 1)), len(records))
    ref = GenerationRef("web", 7)
    drift.save(
        Running(
            *(node, boot, ref, WEB.digest, ROOT, f"t-{boot}"),
            up_since=4060.0,
            last_seen=5000.0,
            interval=250.0,
            agent=True,
        )
        for node, boot in (("n1", "b1"), ("n2", "b2"))
    )
    return drift


def test_who_came_up_after_heartbeats_were_saved_is_known(store: DriftStore) -> None:
    found = {one.node: one for one in store.load({WEB.ref: WEB})}
    assert {name: one.boot for name, one in found.items()} == {"n1": "b1", "n2": "b3", "n3": "b4"}
    assert (found["n1"].last_seen, found["n1"].sealed) == (5000.0, "5" * 64)
    again = found["n2"]
    assert (again.up_since, again.last_seen, again.root) == (5160.0, 5160.0, ROOT)
    assert (again.token_hash, again.expected_root, again.interval) == ("t-b3", ROOT, 250.0)
    assert (again.agent, again.sealed, again.baseline) == (True, "6" * 64, "6" * 64)
    assert (again.count, again.known, again.drift) == (1, "7" * 64, "7" * 64)
    assert (found["n3"].agent, found["n3"].sealed) == (False, "")

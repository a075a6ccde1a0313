from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from bootserve.errors import NotFound
from bootserve.model.boot import Boot, Phase, PhaseSeen
from bootserve.model.desired import Scope
from bootserve.model.generation import GenerationRef
from bootserve.model.shape import LearnedShape
from bootserve.store import tables
from bootserve.store.boots import BootHistory, BootStore
from bootserve.store.database import Database, sqlite_url
from bootserve.store.journal import Journal
from bootserve.store.records import (
    BootRecord,
    DiscoveredRecord,
    GapRecord,
    JournalRecord,
    PhaseRecord,
    ReportRecord,
    ShapeRecord,
    TokenRecord,
)

MAC = "52:54:00:00:00:01"
OTHER = "52:54:00:00:00:02"


def boot(number: int, node: str = "n1", at: float | None = None) -> BootRecord:
    minted_at = float(number) if at is None else at
    return BootRecord(f"b{number}", node, MAC, "web@7", "d" * 64, 3, minted_at, "10.0.0.1")


@pytest.fixture
def store(database: Database) -> BootStore:
    return BootStore(database, "j1", max_discovered=3)


def put(store: BootStore, *records: JournalRecord) -> None:
    first = store.applied() + 1
    numbered = list(enumerate(records, first))
    store.apply(numbered, numbered[-1][0])


def ids(found: Sequence[BootHistory]) -> list[str]:
    return [history.boot.id for history in found]


def test_boots_of_racks_and_roles_are_of_the_nodes_that_lie_there_now(
    store: BootStore, fleet: Database
) -> None:
    put(store, *(boot(number, name) for number, name in enumerate(["a", "b", "c", "gone", "a"])))

    def within(*scopes: str, **fields: Any) -> list[str]:
        return ids(store.boots(within=[Scope.parse(one) for one in scopes], **fields))

    assert within("rack/r1") == ["b4", "b0"]
    assert within("rack/r1", limit=1) == ["b4"]
    assert within("rack/r1", before="b4") == ["b0"]
    assert within("rack/r2", "role/web") == ["b4", "b2", "b1", "b0"]
    assert within("rack/r1", node="b") == within("rack/r3") == within() == []


def test_a_boot_with_its_phases(store: BootStore) -> None:
    put(
        store,
        PhaseRecord("b1", "script", 10.0),
        BootRecord("b1", "n1", MAC, "web@7", "d" * 64, 3, 10.0, "10.0.0.1"),
        PhaseRecord("b1", "kernel", 11.0, "in 0.2 s"),
        PhaseRecord("b1", "dhcp", 9.0),
        ReportRecord("b1", "mounted", 12.0),
        ReportRecord("b1", "up", 13.0, "web@6", "e" * 64, 21.5, "what happened\nthe log\n"),
    )
    history = store.boot("b1")
    assert history == BootHistory(
        Boot("b1", "n1", MAC, GenerationRef("web", 7), "d" * 64, 3, 10.0, "10.0.0.1"),
        (
            PhaseSeen("b1", Phase.DHCP, 9.0),
            PhaseSeen("b1", Phase.SCRIPT, 10.0),
            PhaseSeen("b1", Phase.KERNEL, 11.0, "in 0.2 s"),
            PhaseSeen("b1", Phase.MOUNTED, 12.0),
            PhaseSeen("b1", Phase.UP, 13.0, "what happened"),
        ),
        "web@6",
        "e" * 64,
    )
    assert store.boots() == [history]
    assert store.last_boot("n1") == history
    assert list(store.reports("b1")) == [
        ReportRecord("b1", "mounted", 12.0),
        ReportRecord("b1", "up", 13.0, "web@6", "e" * 64, 21.5, "what happened\nthe log\n"),
    ]


def test_a_phase_seen_again_keeps_its_first_time_and_its_last_word(
    database: Database, store: BootStore
) -> None:
    put(store, boot(1), PhaseRecord("b1", "root", 2.0, "first"), PhaseRecord("b1", "root", 3.0))
    put(store, PhaseRecord("b1", "root", 4.0, "again"), PhaseRecord("b1", "root", 5.0))
    seen = (PhaseSeen("b1", Phase.SCRIPT, 1.0), PhaseSeen("b1", Phase.ROOT, 2.0, "again"))
    assert store.boot("b1").phases == seen
    with database.read() as connection:
        row = connection.execute(select(tables.boot_phase)).one()
    assert (row.at, row.last_at, row.times) == (2.0, 5.0, 4)


def test_a_node_cannot_make_it_store_more_phases_than_there_are(store: BootStore) -> None:
    put(store, boot(1), *(PhaseRecord("b1", str(p), 2.0) for p in Phase for _ in range(50)))
    assert [seen.phase for seen in store.boot("b1").phases] == list(Phase)


def test_boots_come_newest_first_and_in_pages(store: BootStore) -> None:
    put(store, boot(1), boot(3, "n2"), boot(2), boot(4, at=3.0), boot(5, at=3.0))
    assert ids(store.boots()) == ["b5", "b4", "b3", "b2", "b1"]
    assert ids(store.boots("n1")) == ["b5", "b4", "b2", "b1"]
    assert ids(store.boots(limit=2)) == ["b5", "b4"]
    assert ids(store.boots(limit=2, before="b4")) == ["b3", "b2"]
    assert ids(store.boots("n1", before="b4")) == ["b2", "b1"]
    assert ids(store.boots(before="b1")) == []
    assert ids(store.boots("none")) == []
    assert ids(store.active_since(1.0)) == ["b2", "b3", "b4", "b5"]
    assert ids(store.active_since(3.0)) == []


def test_the_last_boot_of_each_node(store: BootStore) -> None:
    assert store.last_boots() == {}
    assert store.last_boot("n1") is None
    put(store, boot(1), boot(2), boot(3, "n2"), PhaseRecord("b2", "up", 9.0))
    last = store.last_boots()
    assert {node: history.boot.id for node, history in last.items()} == {"n1": "b2", "n2": "b3"}
    up, script = PhaseSeen("b2", Phase.UP, 9.0), PhaseSeen("b2", Phase.SCRIPT, 2.0)
    assert last["n1"].phases == (script, up)


def test_a_boots_script_is_when_it_was_minted_also_where_it_was_written_down(
    store: BootStore,
) -> None:
    put(store, boot(1), PhaseRecord("b1", "kernel", 5.0), PhaseRecord("b1", "tftp", 0.5))
    put(store, boot(2), PhaseRecord("b2", "script", 2.0), PhaseRecord("b2", "dhcp", 2.0))
    first = [(one.phase, one.at) for one in store.boot("b1").phases]
    assert first == [(Phase.TFTP, 0.5), (Phase.SCRIPT, 1.0), (Phase.KERNEL, 5.0)]
    assert [one.phase for one in store.boot("b2").phases] == [Phase.DHCP, Phase.SCRIPT]


def test_a_boot_that_is_not_there(store: BootStore) -> None:
    with pytest.raises(NotFound, match="'b9'"):
        store.boot("b9")
    with pytest.raises(NotFound, match="'b9'"):
        store.boots(before="b9")
    assert list(store.reports("b9")) == []


def test_the_first_token_of_a_boot_stays(store: BootStore) -> None:
    put(store, boot(1), TokenRecord("b1", "1" * 64, 2.0), TokenRecord("b2", "1" * 64, 3.0))
    put(store, TokenRecord("b1", "2" * 64, 4.0))
    assert store.token_of_boot("b1") == "1" * 64
    assert store.token_of_boot("b2") == "1" * 64
    assert store.token_of_boot("b3") is None


RECORDS: list[tuple[int, JournalRecord]] = list(
    enumerate(
        [
            boot(1),
            PhaseRecord("b1", "root", 2.0, "x"),
            PhaseRecord("b1", "root", 3.0, "y"),
            ReportRecord("b1", "up", 4.0, "web@7", "d" * 64),
            TokenRecord("b1", "1" * 64, 5.0),
            DiscoveredRecord(OTHER, 6.0, "x64"),
            GapRecord(5, 7.0, 8.0),
            ShapeRecord(MAC, "n1", "binl", 8.5),
            DiscoveredRecord(OTHER, 9.0, serial="S1"),
            boot(2),
            ShapeRecord(MAC, "n1", "pxe10", 9.5),
        ],
        1,
    )
)


def contents(store: BootStore) -> tuple[object, ...]:
    return (
        store.applied(),
        store.boots(),
        list(store.reports("b1")),
        list(store.gaps()),
        list(store.discovered()),
        store.shapes(),
    )


def test_applying_again_in_whatever_batches_never_doubles_or_loses(
    tmp_path: Path, store: BootStore
) -> None:
    store.apply(RECORDS, 11)
    whole = contents(store)
    store.apply(RECORDS, 11)
    store.apply(RECORDS[3:], 11)
    store.apply([], 5)
    assert contents(store) == whole
    for size in (1, 2, 4):
        database = Database.open(sqlite_url(tmp_path / f"{size}.sqlite"))
        other = BootStore(database, "j1", max_discovered=3)
        for start in range(0, 11, size):
            overlapping = RECORDS[max(0, start - 2) : start + size]
            other.apply(overlapping, overlapping[-1][0])
        assert contents(other) == whole
        database.close()


def test_another_journal_has_its_own_sequences(database: Database, store: BootStore) -> None:
    store.apply([(1, boot(1)), (2, ReportRecord("b1", "up", 4.0, "web@7"))], 500)
    other = BootStore(database, "j2")
    assert other.applied() == 0
    other.apply([(1, boot(2)), (2, ReportRecord("b1", "up", 5.0, "web@8"))], 2)
    assert (store.applied(), other.applied()) == (500, 2)
    assert ids(store.boots()) == ["b2", "b1"]
    assert [report.generation for report in store.reports("b1")] == ["web@7", "web@8"]


def test_a_batch_that_cannot_be_stored_leaves_nothing(store: BootStore) -> None:
    put(store, boot(1))
    unstorable = GapRecord(1 << 70, 1.0, 2.0)
    with pytest.raises(OverflowError):
        store.apply([(2, boot(2)), (3, unstorable)], 3)
    assert store.applied() == 1
    assert ids(store.boots()) == ["b1"]


def test_a_boot_whose_generation_cannot_be_read_is_a_loss(store: BootStore) -> None:
    put(store, BootRecord("b1", "n1", MAC, "web", "d" * 64, 3, 10.0, "10.0.0.1"), boot(2))
    assert ids(store.boots()) == ["b2"]
    assert list(store.gaps()) == [GapRecord(1, 10.0, 10.0)]


def test_gaps_come_newest_first(store: BootStore) -> None:
    put(store, GapRecord(5, 1.0, 2.0), GapRecord(6, 3.0, 4.0))
    assert list(store.gaps()) == [GapRecord(6, 3.0, 4.0), GapRecord(5, 1.0, 2.0)]
    assert list(store.gaps(limit=1)) == [GapRecord(6, 3.0, 4.0)]


def test_a_discovered_machine_gathers_what_it_told(store: BootStore) -> None:
    put(store, DiscoveredRecord(MAC, 1.0, "x64", "u1", "PXEClient"))
    put(
        store,
        DiscoveredRecord(MAC, 2.0, uuid="u2", serial="S1"),
        DiscoveredRecord(MAC, 3.0, product="R740"),
    )
    (found,) = store.discovered()
    assert (found.first_seen, found.last_seen, found.times) == (1.0, 3.0, 3)
    machine = found.machine
    assert (machine.mac, machine.arch, machine.uuid) == (MAC, "x64", "u2")
    assert (machine.vendor_class, machine.serial, machine.product) == ("PXEClient", "S1", "R740")


def test_discovered_machines_are_bounded_and_the_oldest_goes(store: BootStore) -> None:
    macs = [f"52:54:00:00:01:{n:02x}" for n in range(5)]
    for at, mac in enumerate(macs[:3]):
        put(store, DiscoveredRecord(mac, float(at)))
    put(store, DiscoveredRecord(macs[0], 10.0), DiscoveredRecord(macs[3], 11.0))
    assert [found.machine.mac for found in store.discovered()] == [macs[3], macs[0], macs[2]]
    put(store, *(DiscoveredRecord(mac, 20.0) for mac in macs))
    assert len(store.discovered()) == 3


def test_a_discovered_machine_can_be_forgotten(store: BootStore) -> None:
    put(store, DiscoveredRecord(MAC, 1.0), DiscoveredRecord(OTHER, 2.0))
    store.forget_discovered(MAC)
    assert [found.machine.mac for found in store.discovered()] == [OTHER]
    with pytest.raises(NotFound, match=MAC):
        store.forget_discovered(MAC)


def test_of_the_shapes_learned_for_a_nic_the_latest_counts(store: BootStore) -> None:
    put(store, ShapeRecord(OTHER, "n2", "binl", 5.0), ShapeRecord(MAC, "n1", "binl", 3.0))
    put(store, ShapeRecord(MAC, "n1", "pxe10", 4.0), ShapeRecord(OTHER, "n2", "pxe10", 1.0))
    assert store.shapes() == [LearnedShape(MAC, "pxe10", 4.0), LearnedShape(OTHER, "binl", 5.0)]


APPLIER = """
import pathlib, sys, time
from itertools import islice
from bootserve.store.boots import BootStore
from bootserve.store.database import Database
from bootserve.store.journal import Journal
journal = Journal(pathlib.Path(sys.argv[1]), max_bytes=1 << 26, clock=time.time)
store = BootStore(Database.open(sys.argv[2]), journal.id)
applied = store.applied()
while batch := list(islice(journal.replay(applied), 50)):
    applied = batch[-1][0]
    store.apply(batch, applied)
    journal.discard(applied)
    print(applied, flush=True)
"""


def test_killed_while_applying_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    directory, url = tmp_path / "journal", sqlite_url(tmp_path / "db.sqlite")
    Database.open(url).close()
    journal = Journal(directory, max_bytes=1 << 26, clock=time.time)
    for n in range(1, 3001):
        journal.append(boot(n))
        journal.append(DiscoveredRecord(MAC, float(n)))
    journal.close()
    kills = 0
    while True:
        command = [sys.executable, "-c", APPLIER, str(directory), url]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            for _ in range(40):
                if not child.stdout.readline():
                    break
            else:
                child.kill()
                kills += 1
                continue
        assert child.returncode == 0
        break
    assert kills >= 2
    journal = Journal(directory, max_bytes=1 << 26, clock=time.time)
    database = Database.open(url)
    store = BootStore(database, journal.id)
    assert store.applied() == 6000
    assert len(store.boots(limit=10_000)) == 3000
    assert [found.times for found in store.discovered()] == [3000]
    assert list(store.gaps()) == []
    database.close()
    journal.close()

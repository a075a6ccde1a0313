"""Verifying: whatever is done to the database, or to an export, is found and named."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bootserve.core.audit_file import FileVerdict, verify_file
from bootserve.core.audit_sign import PublicKeys, Signer, new_key
from bootserve.errors import InvalidInput, NotFound, Unavailable
from bootserve.model.audit import AuditEntry, AuditKind, Chain
from bootserve.model.desired import DesiredState
from bootserve.servers.audit import AuditDesk, Verdict
from bootserve.servers.dbthread import DatabaseThread
from bootserve.store.audit import append_changes
from bootserve.store.audit_log import AuditLog
from bootserve.store.boots import BootStore
from bootserve.store.database import Database, sqlite_url
from bootserve.store.desired import DesiredStore
from bootserve.store.records import BootRecord, JournalRecord, ReportRecord
from tests.support.states import node, state

SERVER = "a" * 32
SIGNER = Signer(new_key())
STRANGER = Signer(new_key())


async def nothing() -> None:
    """What flushes where there is no journal."""


class Scene:
    """Eight changes and ten boots in a database; checkpoints in the middle and at the end."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "db"
        self.head = folder / "audit.head"
        self.database = Database.open(sqlite_url(self.path), SERVER)
        self.thread = DatabaseThread()
        self.log = AuditLog(self.database, SERVER)
        self.desk = self.desk_of(SIGNER)

    def desk_of(self, signer: Signer | None) -> AuditDesk:
        return AuditDesk(self.log, self.database, self.thread, signer, nothing, self.head)

    async def work(self) -> None:
        self._half(0)
        self.log.checkpoint(SIGNER, 50.0)
        self._half(1)
        self.log.checkpoint(SIGNER, 100.0)
        self.head.write_text(json.dumps(await self.desk.heads()))

    def _half(self, half: int) -> None:
        desired, old = DesiredStore(self.database), DesiredState()
        if half:
            _, old = desired.load()
        for n in range(4):
            base = half * 4 + n
            new = state(node("n1", rack=f"r{base}"))
            at = base * 10.0
            desired.commit(base, new, old=old, author="ada", message=f"m{base}", at=at)
            old = new
        first = half * 10
        records: list[JournalRecord] = []
        for n in range(first, first + 10, 2):
            at, boot = n * 5.0, f"b{n}"
            records += [
                BootRecord(boot, "n1", "m", "web@1", "d" * 64, 1, at, "10.0.0.5"),
                ReportRecord(boot, "up", at + 1, "web@1", "f" * 64, 20.5, "up"),
            ]
        numbered = list(enumerate(records, first + 1))
        BootStore(self.database, SERVER).apply(numbered, first + 10)

    def sql(self, *statements: str) -> None:
        with closing(sqlite3.connect(self.path)) as database, database:
            for name in ("audit_no_update", "audit_no_delete"):
                database.execute(f"DROP TRIGGER IF EXISTS {name}")
            for statement in statements:
                database.execute(statement)

    async def verify(self, **given: Any) -> Verdict:
        return await self.desk.verify(given.get("keys", []), given.get("heads", []))

    async def export(self, since: float | None = None, until: float | None = None) -> list[bytes]:
        data = b"".join([part async for part in self.desk.export(since, until)])
        return data.splitlines(keepends=True)

    def close(self) -> None:
        self.thread.close()
        self.database.close()


@pytest.fixture(scope="module")
def worked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the database and the head file of a scene after its work."""
    folder = tmp_path_factory.mktemp("worked")
    one = Scene(folder)
    asyncio.run(one.work())
    one.close()
    return folder


@pytest.fixture
def scene(worked: Path, tmp_path: Path) -> Iterator[Scene]:
    for file in worked.iterdir():
        shutil.copy(file, tmp_path)
    one = Scene(tmp_path)
    yield one
    one.close()


async def test_a_log_that_nobody_touched_is_intact(scene: Scene) -> None:
    verdict = await scene.verify()
    assert (verdict.findings, verdict.checkpoints, verdict.unchecked) == ([], 4, set())
    assert [(one.chain, one.first, one.last, one.records) for one in verdict.chains] == [
        (Chain.CHANGES, 1, 10, 10),
        (Chain.BOOTS, 1, 22, 22),
    ]


async def test_a_log_that_grows_while_it_is_verified_is_intact(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The chain of changes is read first; then both get checkpoints, and the head file is new."""
    read_all = scene.desk._read_all

    async def read_and_record(*given: Any) -> None:
        await read_all(*given)
        scene.log.record(AuditEntry(AuditKind.RELOAD, 101.0, "ada"))
        scene.log.checkpoint(SIGNER, 102.0)
        scene.head.write_text(json.dumps(await scene.desk.heads()))

    monkeypatch.setattr(scene.desk, "_read_all", read_and_record)
    verdict = await scene.verify()
    assert (verdict.found, [one.last for one in verdict.chains]) == (0, [10, 22])
    assert (await scene.verify()).chains[0].last == 14


OF = "chain = (SELECT id FROM audit_chain WHERE name = '{}')"
CHANGES, BOOTS = OF.format("changes"), OF.format("boots")
SWAP = (
    "UPDATE audit SET sequence = -{0} WHERE {2} AND sequence = {0}",
    "UPDATE audit SET sequence = {0} WHERE {2} AND sequence = {1}",
    "UPDATE audit SET sequence = {1} WHERE {2} AND sequence = -{0}",
)
TAMPERINGS: dict[str, tuple[str, ...]] = {
    "altered": (f"UPDATE audit SET record = replace(record, 'ada', 'eve') WHERE {CHANGES}",),
    "altered boot": (f"UPDATE audit SET record = replace(record, '10.0', '10.1') WHERE {BOOTS}",),
    "altered to nothing": (f"UPDATE audit SET record = '' WHERE {BOOTS} AND sequence = 3",),
    "altered hash": (f"UPDATE audit SET hash = 'x' WHERE {BOOTS} AND sequence = 3",),
    "missing": (f"DELETE FROM audit WHERE {CHANGES} AND sequence = 4",),
    "missing boots": (f"DELETE FROM audit WHERE {BOOTS} AND sequence IN (2, 3)",),
    "missing first": (f"DELETE FROM audit WHERE {CHANGES} AND sequence = 1",),
    "reordered": tuple(one.format(2, 3, CHANGES) for one in SWAP),
    "reordered boots": tuple(one.format(5, 9, BOOTS) for one in SWAP),
    "truncated": (f"DELETE FROM audit WHERE {CHANGES} AND sequence > 9",),
    "truncated boots": (f"DELETE FROM audit WHERE {BOOTS} AND sequence > 12",),
    "truncated all boots": (f"DELETE FROM audit WHERE {BOOTS}",),
    "truncated all": ("DELETE FROM audit",),
    "truncated with its chain": (
        f"DELETE FROM audit WHERE {CHANGES}",
        "DELETE FROM audit_chain WHERE name = 'changes'",
    ),
    "mismatch": (f"UPDATE audit SET subject = 'eve' WHERE {CHANGES} AND sequence = 5",),
    "mismatch time": (f"UPDATE audit SET at = 1.5 WHERE {BOOTS} AND sequence = 5",),
    "mismatch node": (f"UPDATE audit SET node = 'n2' WHERE {BOOTS} AND sequence = 5",),
    "mismatch rack": ("UPDATE audit_about SET name = 'rack/r99' WHERE name = 'rack/r3'",),
    "mismatch boot": ("UPDATE boot SET number = 2 WHERE id = 'b4'",),
    "mismatch boot's time": ("UPDATE boot SET minted_at = 2 WHERE id = 'b4'",),
    "mismatch gone": ("DELETE FROM boot WHERE id = 'b4'",),
    "mismatch revision": ("UPDATE revision SET author = 'eve' WHERE number = 2",),
}


@pytest.mark.parametrize("name", TAMPERINGS)
async def test_what_is_done_to_the_database_is_found(scene: Scene, name: str) -> None:
    scene.sql(*TAMPERINGS[name])
    verdict = await scene.verify()
    assert name.split()[0] in {one.problem for one in verdict.findings}, verdict


async def test_a_chain_written_anew_from_the_middle_is_found_by_the_checkpoints(
    scene: Scene,
) -> None:
    """Its hashes all hold: who has the database can compute them, but sign nothing."""
    forged = Database.open(sqlite_url(scene.path), SERVER)
    scene.sql(f"DELETE FROM audit WHERE {CHANGES} AND sequence > 6")
    with forged.write() as connection:
        entries = [AuditEntry(AuditKind.RELOAD, 60.0 + n, "eve") for n in range(6)]
        append_changes(connection, *entries)
    forged.close()
    scene.head.unlink()
    verdict = await scene.verify()
    assert {one.problem for one in verdict.findings} == {"altered"}
    assert "checkpoint 22 in the chain of boots" in verdict.findings[0].text


async def test_a_checkpoint_with_another_key_is_not_taken_for_the_servers(scene: Scene) -> None:
    scene.log.checkpoint(STRANGER, 200.0)
    verdict = await scene.verify()
    assert verdict.unchecked == {STRANGER.id}
    verdict = await scene.verify(keys=[STRANGER.public_text])
    assert (verdict.unchecked, verdict.findings) == (set(), [])
    with pytest.raises(InvalidInput):
        await scene.verify(keys=["ed25519:xx"])


async def test_a_head_kept_elsewhere_convicts_even_who_holds_the_key(scene: Scene) -> None:
    kept = await scene.desk.heads()
    scene.sql("DELETE FROM audit WHERE sequence > 2")
    scene.log.checkpoint(SIGNER, 300.0)
    scene.head.write_text(json.dumps(await scene.desk.heads()))
    assert (await scene.verify()).findings == []
    verdict = await scene.verify(heads=[kept])
    assert {one.problem for one in verdict.findings} == {"truncated"}
    for wrong in ({}, {**kept, "at": 1.0}, {**kept, "server": "b" * 32}):
        verdict = await scene.verify(heads=[wrong])
        assert "forged" in {one.problem for one in verdict.findings}


@pytest.mark.parametrize("text", ["", "{}", "[]", "\xff"])
async def test_a_damaged_head_file_is_found(scene: Scene, text: str) -> None:
    scene.head.write_text(text, encoding="latin-1")
    assert {one.problem for one in (await scene.verify()).findings} == {"forged"}


# --- exports --------------------------------------------------------------------------------


def check(lines: list[bytes], signer: Signer = SIGNER) -> FileVerdict:
    return verify_file(lines, PublicKeys([signer.public]))


def problems(lines: list[bytes]) -> set[str]:
    return {one.problem for one in check(lines).findings}


async def test_an_export_holds(scene: Scene) -> None:
    lines = await scene.export()
    verdict = check(lines)
    assert (verdict.findings, verdict.records, verdict.checkpoints) == ([], 32, 4)
    part = await scene.export(20.0, 45.0)
    header = json.loads(part[0])
    assert header["chains"]["changes"]["before"]["sequence"] == 2
    assert check(part).findings == []
    with pytest.raises(NotFound):
        await scene.export(1e9)
    with pytest.raises(Unavailable):
        await anext(scene.desk_of(None).export(None, None))


LAST_CHANGE, FIRST_BOOT = 10, 11
CUTS: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "altered": lambda x: [x[0], x[1].replace(b"ada", b"eve"), *x[2:]],
    "altered last of a chain": lambda x: [*x[:10], x[10].replace(b"100.0", b"101.0"), *x[11:]],
    "altered last": lambda x: [*x[:-2], x[-2].replace(b"100.0", b"101.0"), x[-1]],
    "altered header": lambda x: [x[0].replace(b"exported_at", b"exported_on"), *x[1:]],
    "missing": lambda x: [*x[:3], *x[4:]],
    "missing boot": lambda x: [*x[:15], *x[16:]],
    "reordered": lambda x: [*x[:3], x[4], x[3], *x[5:]],
    "reordered boots": lambda x: [*x[:15], x[17], x[16], x[15], *x[18:]],
    "truncated": lambda x: x[:-1],
    "truncated in a line": lambda x: [*x[:-1], x[-1][:-9]],
    "truncated at a record": lambda x: [*x[:-4], x[-1]],
    "truncated in the middle": lambda x: [*x[:9], *x[11:]],
    "truncated to the header": lambda x: x[:1],
    "truncated to header and footer": lambda x: [x[0], x[-1]],
    "forged signature": lambda x: [*x[:-1], x[-1].replace(b'"signature":"', b'"signature":"AAAA')],
}


@pytest.mark.parametrize("name", CUTS)
async def test_what_is_done_to_an_export_is_found(scene: Scene, name: str) -> None:
    lines = CUTS[name](await scene.export())
    assert name.split()[0] in problems(lines), check(lines)


async def test_every_byte_of_an_export_counts(scene: Scene) -> None:
    data = b"".join(await scene.export())
    for at in range(0, len(data) - 1, 97):
        damaged = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        try:
            verdict = check(damaged.splitlines(keepends=True))
        except InvalidInput:
            continue
        assert verdict.found, (at, data[at - 20 : at + 20])


async def test_an_export_signed_by_another_is_refused(scene: Scene) -> None:
    lines = await scene.export()
    verdict = check(lines, STRANGER)
    assert "forged" in {one.problem for one in verdict.findings}
    for text in (b"", b"{}\n", b"[1]\n", b"no\n", b'{"format":"bootserve-audit-1"}\n'):
        with pytest.raises(InvalidInput):
            check([text])
    with pytest.raises(InvalidInput):
        check([lines[0].replace(b'"sequence":0', b'"sequence":"0"'), *lines[1:]])


# --- pruning --------------------------------------------------------------------------------


async def prune(scene: Scene, chain: Chain, before: float, limit: int = 3) -> int:
    total = 0
    while count := scene.log.prune(chain, before, SIGNER, 999.0, limit=limit):
        assert count <= limit
        total += count
    return total


async def test_a_pruned_log_verifies_from_its_anchor(scene: Scene) -> None:
    assert await prune(scene, Chain.CHANGES, 25.0) == 3
    assert await prune(scene, Chain.BOOTS, 1e9) == 21  # the newest record stays
    scene.log.checkpoint(SIGNER, 1000.0)
    verdict = await scene.verify()
    assert verdict.findings == []
    assert [(one.pruned, one.first) for one in verdict.chains] == [(3, 4), (21, 22)]
    assert check(await scene.export()).findings == []
    assert check(await scene.export(30.0, 31.0)).findings == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_anchor SET count = 2",
        "UPDATE audit_anchor SET sequence = 4",
        "DELETE FROM audit_anchor",
        f"DELETE FROM audit WHERE {CHANGES} AND sequence = 4",
        f"UPDATE audit_anchor SET hash = '{'0' * 64}'",
    ],
)
async def test_what_is_done_to_a_pruned_log_is_found(scene: Scene, statement: str) -> None:
    await prune(scene, Chain.CHANGES, 25.0)
    scene.sql(statement)
    assert (await scene.verify()).findings


async def test_another_servers_chains_are_verified_too(scene: Scene) -> None:
    other = Database.open(sqlite_url(scene.path), "b" * 32)
    log = AuditLog(other, "b" * 32)
    log.record(AuditEntry(AuditKind.RELOAD, 1.0, "ada"))
    log.checkpoint(STRANGER, 2.0)
    other.close()
    verdict = await scene.verify()
    assert (verdict.findings, verdict.unchecked) == ([], {STRANGER.id})
    assert [one.server[0] for one in verdict.chains] == ["a", "a", "b", "b"]
    scene.sql("UPDATE audit SET record = replace(record, 'ada', 'eve') WHERE kind = 'reload'")
    assert {one.problem for one in (await scene.verify()).findings} == {"altered"}

from __future__ import annotations

import re
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from bootserve.errors import Conflict, NotFound
from bootserve.model.desired import DesiredState, Pin, Scope, ScopeKind
from bootserve.model.generation import Artifact, GenerationRef, Manifest, Revocation
from bootserve.model.names import Arch
from bootserve.model.rollout import Member, Policy, Rollout
from bootserve.store.boots import BootStore
from bootserve.store.database import Database
from bootserve.store.desired import DesiredStore
from bootserve.store.generations import GenerationStore
from bootserve.store.records import BootRecord
from bootserve.store.rollouts import RolloutStore

HOUR = 3600.0


def manifest(image: str = "web", root: str = "1", kernel: str = "2") -> Manifest:
    digits = {"kernel": kernel, "initrd": "3", "root": root}
    artifacts = {name: Artifact(sha256=digit * 64, size=10) for name, digit in digits.items()}
    return Manifest(image=image, arch=Arch.AMD64, artifacts=artifacts)


@pytest.fixture
def store(database: Database) -> GenerationStore:
    return GenerationStore(database)


def register(store: GenerationStore, *manifests: Manifest) -> list[str]:
    return [str(store.register(m, at=10.0, by="ada")[0].ref) for m in manifests]


def set_pin(database: Database, ref: str | None, scope: str = "rack/r1") -> None:
    desired = DesiredStore(database)
    revision, old = desired.load()
    pins = {}
    if ref is not None:
        pin = Pin(Scope.parse(scope), GenerationRef.parse(ref))
        pins = {pin.key: pin}
    desired.commit(
        revision.number, replace(old, pins=pins), old=old, author="a", message="m", at=1.0
    )


def boot(database: Database, node: str, generation: str, at: float, sequence: int) -> None:
    record = BootRecord(
        f"b{sequence}", node, "52:54:00:00:00:01", generation, "f" * 64, 1, at, "10.0.0.1"
    )
    BootStore(database, "j").apply([(sequence, record)], sequence)


def test_each_image_counts_its_own_generations(store: GenerationStore) -> None:
    refs = register(
        store, manifest(root="a"), manifest("ceph"), manifest(root="b"), manifest(root="c")
    )
    assert refs == ["web@1", "ceph@1", "web@2", "web@3"]
    assert [str(g.ref) for g in store.list()] == ["ceph@1", "web@1", "web@2", "web@3"]
    assert [str(g.ref) for g in store.list("ceph")] == ["ceph@1"]


def test_what_is_registered_is_what_is_read(store: GenerationStore) -> None:
    made, created = store.register(manifest(), at=10.5, by="ada")
    assert created
    assert made.manifest == manifest()
    assert (made.digest, made.imported_at, made.imported_by) == (manifest().digest, 10.5, "ada")
    assert made.removed_at is None
    assert store.get(made.ref) == store.by_digest(made.digest) == made


def test_a_known_digest_is_the_generation_that_has_it(store: GenerationStore) -> None:
    made, _ = store.register(manifest(), at=10.0, by="ada")
    register(store, manifest(root="b"))
    assert store.register(manifest(), at=99.0, by="bob") == (made, False)


def test_a_removed_generation_keeps_its_manifest_and_its_number(store: GenerationStore) -> None:
    register(store, manifest(root="a"), manifest(root="b"))
    last = GenerationRef("web", 2)
    store.remove(last, at=20.0)
    kept = store.get(last)
    assert (kept.removed_at, kept.manifest) == (20.0, manifest(root="b"))
    assert [str(g.ref) for g in store.list()] == ["web@1"]
    assert [str(g.ref) for g in store.list(include_removed=True)] == ["web@1", "web@2"]
    assert register(store, manifest(root="c")) == ["web@3"]
    again, created = store.register(manifest(root="b"), at=30.0, by="bob")
    assert (again, created) == (replace(kept, removed_at=None), False)


def test_removal_names_the_artifacts_that_nothing_needs(store: GenerationStore) -> None:
    register(store, manifest(root="a"), manifest(root="b"))
    needed = ("2" * 64, "3" * 64, "a" * 64, "b" * 64)
    assert store.unneeded([*needed, "f" * 64, "e" * 64]) == ["e" * 64, "f" * 64]
    assert store.remove(GenerationRef("web", 1), at=1.0) == ["a" * 64]
    assert store.remove(GenerationRef("web", 1), at=5.0) == ["a" * 64]
    assert store.get(GenerationRef("web", 1)).removed_at == 1.0
    assert store.remove(GenerationRef("web", 2), at=1.0) == ["2" * 64, "3" * 64, "b" * 64]
    assert store.unneeded(needed) == list(needed)


def test_what_is_not_there(store: GenerationStore) -> None:
    ref = GenerationRef("web", 1)
    assert store.by_digest("a" * 64) is None
    assert list(store.list()) == []
    with pytest.raises(NotFound, match="web@1"):
        store.get(ref)
    with pytest.raises(NotFound, match="web@1"):
        store.users(ref, 1.0)
    with pytest.raises(NotFound, match="web@1"):
        store.remove(ref, at=1.0)


def test_a_pinned_generation_cannot_be_removed(database: Database, store: GenerationStore) -> None:
    register(store, manifest())
    set_pin(database, "web@1")
    with pytest.raises(Conflict, match=r"web@1 is in use: pin rack/r1 \(now\)"):
        store.remove(GenerationRef("web", 1), at=1.0)
    assert store.get(GenerationRef("web", 1)).removed_at is None


def test_a_revoked_generation_says_since_when_by_whom_and_why(store: GenerationStore) -> None:
    register(store, manifest())
    ref = GenerationRef("web", 1)
    store.revoke(ref, at=20.0, by="bob", reason="it eats disks")
    assert store.get(ref).revoked == Revocation(20.0, "bob", "it eats disks")
    assert store.register(manifest(), at=30.0, by="ada")[0].revoked, "imported again, it still is"
    store.unrevoke(ref, at=40.0, by="bob", reason="it was the cable")
    assert store.get(ref).revoked is None
    with pytest.raises(Conflict, match="web@1 is not revoked"):
        store.unrevoke(ref, at=50.0, by="bob", reason="again")
    for verb in (store.revoke, store.unrevoke):
        with pytest.raises(NotFound, match="web@2"):
            verb(GenerationRef("web", 2), at=1.0, by="bob", reason="there is none")


def test_what_nodes_are_to_be_given_cannot_be_revoked(
    database: Database, store: GenerationStore
) -> None:
    register(store, manifest(root="a"), manifest(root="b"))
    old, new = GenerationRef("web", 1), GenerationRef("web", 2)
    planned = Rollout(
        number=0,
        scope=Scope.parse("site"),
        generation=new,
        root="b" * 64,
        stages=(1,),
        policy=Policy(),
        created_at=1.0,
        created_by="ada",
        members={"n1": Member("n1", 0, before=old)},
    )
    RolloutStore(database).create(planned)
    set_pin(database, "web@2")
    for ref, why in ((old, r"rollout 1 \(running\)"), (new, r"pin rack/r1 \(now\); rollout 1")):
        with pytest.raises(Conflict, match=f"{ref} is in use: {why}"):
            store.revoke(ref, at=1.0, by="bob", reason="now")
        assert store.get(ref).revoked is None
        assert any("rollout 1" in one for one in store.users(ref, 1.0)), "nor removed"


def test_a_pin_of_the_last_ten_revisions_counts(database: Database, store: GenerationStore) -> None:
    register(store, manifest(root="a"), manifest(root="b"))
    first = GenerationRef("web", 1)
    set_pin(database, "web@1", "site")
    set_pin(database, "web@2", "site")  # revision 2 ends what held in revision 1
    while DesiredStore(database).latest().number < 10:
        assert store.users(first, 1.0) == ["pin site (of revision 1, one of the last 10)"]
        set_pin(database, "web@2", "site")
    assert store.users(first, 1.0) == ["pin site (of revision 1, one of the last 10)"]
    set_pin(database, "web@2", "site")  # the last ten are 2 to 11
    assert store.users(first, 1.0) == []
    store.remove(first, at=1.0)
    assert store.users(GenerationRef("web", 2), 1.0) == ["pin site (now)"]


def test_a_generation_is_kept_an_hour_after_a_node_booted_it(
    database: Database, store: GenerationStore
) -> None:
    register(store, manifest(root="a"), manifest(root="b"))
    ref = GenerationRef("web", 1)
    boot(database, "n2", "web@1", 1000.0, 1)
    boot(database, "n1", "web@1", 1000.0 + HOUR / 2, 2)
    boot(database, "n3", "web@2", 1000.0 + HOUR, 3)
    now = 1000.0 + HOUR - 1
    assert store.users(ref, now) == ["node n1 booted it 30 min ago", "node n2 booted it 60 min ago"]
    with pytest.raises(Conflict, match="node n1 booted it"):
        store.remove(ref, at=1000.0 + HOUR + 1)
    assert store.users(ref, 1000.0 + HOUR + 1) == ["node n1 booted it 30 min ago"]
    assert store.users(ref, 1001.0 + 1.5 * HOUR) == []


def tamper(folder: Path, ref: str, data: bytes) -> None:
    """Write ``data`` over the stored manifest of ``ref``."""
    image, number = ref.split("@")
    raw = sqlite3.connect(folder / "bootserve.sqlite")
    with raw:
        match = (data, image, number)
        raw.execute("UPDATE generation SET manifest = ? WHERE image = ? AND number = ?", match)
    raw.close()


@pytest.mark.parametrize(
    ("stored", "why"),
    [
        (manifest(root="b").to_bytes(), "whose stored manifest has changed"),
        (b"{}", r"whose stored manifest is damaged \(the manifest is malformed at image.*\)"),
        (b"\xff", r"whose stored manifest is damaged \(.*\)"),
    ],
)
def test_a_manifest_changed_in_the_database_bars_its_generation_alone(
    tmp_path: Path, database: Database, store: GenerationStore, stored: bytes, why: str
) -> None:
    register(store, manifest(root="a"), manifest(root="c"))
    tamper(tmp_path, "web@1", stored)
    damaged, good = store.list()
    assert re.fullmatch(why, damaged.barred)
    assert not {"a" * 64, "b" * 64} & {a.sha256 for a in damaged.manifest.artifacts.values()}
    assert (good.barred, good.manifest) == ("", manifest(root="c"))
    assert store.unneeded(["f" * 64]) == [], "what the damaged one needs is not known"
    assert store.remove(good.ref, at=1.0) == []

    again, created = store.register(manifest(root="a"), at=30.0, by="bob")
    assert (str(again.ref), again.manifest, created) == ("web@1", manifest(root="a"), False)
    assert not again.barred
    assert store.unneeded(["c" * 64, "a" * 64]) == ["c" * 64]


def test_a_damaged_generation_can_be_removed(tmp_path: Path, store: GenerationStore) -> None:
    register(store, manifest(root="a"))
    tamper(tmp_path, "web@1", b"{}")
    assert store.remove(GenerationRef("web", 1), at=1.0) == []
    assert store.list() == []
    assert store.unneeded(["a" * 64]) == ["a" * 64]
    assert register(store, manifest(root="b")) == ["web@2"]


def test_scopes_in_reasons_are_spelt_as_an_admin_writes_them(
    database: Database, store: GenerationStore
) -> None:
    register(store, manifest())
    scopes = [Scope(ScopeKind.SITE), Scope(ScopeKind.NODE, "n1"), Scope(ScopeKind.ROLE, "web")]
    pins = [Pin(scope, GenerationRef("web", 1)) for scope in scopes]
    new = DesiredState(pins={pin.key: pin for pin in pins})
    DesiredStore(database).commit(0, new, old=DesiredState(), author="a", message="m", at=1.0)
    assert store.users(GenerationRef("web", 1), 1.0) == [
        "pin node/n1 (now)",
        "pin role/web (now)",
        "pin site (now)",
    ]

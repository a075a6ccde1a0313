from __future__ import annotations

import hashlib
import json
import os
import resource
import threading
from pathlib import Path

import pytest

from bootserve.errors import (
    Conflict,
    IntegrityError,
    InvalidInput,
    NotFound,
    StorageFull,
    Unavailable,
)
from bootserve.store.artifacts import ArtifactStore, DirectoryStore, Scrubbed

DATA = bytes(range(256)) * 40
DIGEST = hashlib.sha256(DATA).hexdigest()


def put(store: ArtifactStore, data: bytes, step: int = 4096) -> str:
    digest = hashlib.sha256(data).hexdigest()
    offset = 0
    while offset < len(data):
        offset = store.append(digest, offset, data[offset : offset + step])
    store.finish(digest, len(data))
    return digest


def files(root: Path) -> set[str]:
    return {str(p.relative_to(root)) for p in root.rglob("*") if p.is_file()}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "artifacts"


@pytest.fixture
def store(root: Path) -> DirectoryStore:
    return DirectoryStore(root)


@pytest.mark.parametrize("data", [DATA, b"", b"x"])
def test_an_artifact_comes_in_and_can_be_sent(store: DirectoryStore, data: bytes) -> None:
    digest = put(store, data)
    path = store.path(digest)
    assert path is not None
    assert path.read_bytes() == data
    assert path.stat().st_mode & 0o777 == 0o444
    assert store.has(digest)
    assert store.size(digest) == len(data)
    assert store.list() == [digest]
    assert store.verify(digest)


def test_it_lies_where_its_digest_says_and_nowhere_else(store: DirectoryStore, root: Path) -> None:
    put(store, DATA)
    assert files(root) == {f"sha256/{DIGEST[:2]}/{DIGEST}"}


def test_an_upload_goes_on_after_a_restart(store: DirectoryStore, root: Path) -> None:
    assert store.upload_offset(DIGEST) == 0
    assert store.append(DIGEST, 0, DATA[:5000]) == 5000
    store = DirectoryStore(root)
    assert store.upload_offset(DIGEST) == 5000
    assert not store.has(DIGEST)
    store.append(DIGEST, 5000, DATA[5000:])
    store.finish(DIGEST, len(DATA))
    assert store.verify(DIGEST)
    assert store.upload_offset(DIGEST) == len(DATA)


def test_bytes_changed_while_the_server_was_down_are_found(
    store: DirectoryStore, root: Path
) -> None:
    store.append(DIGEST, 0, DATA[:5000])
    partial = root / "partial" / DIGEST
    partial.write_bytes(b"?" + DATA[1:5000])
    store = DirectoryStore(root)
    store.append(DIGEST, 5000, DATA[5000:])
    with pytest.raises(IntegrityError, match=DIGEST):
        store.finish(DIGEST, len(DATA))
    assert files(root) == set()
    put(store, DATA)
    assert store.verify(DIGEST)


def test_bytes_for_another_offset_are_refused_and_nothing_is_lost(store: DirectoryStore) -> None:
    store.append(DIGEST, 0, DATA[:100])
    for offset in (0, 99, 101):
        with pytest.raises(Conflict, match="byte 100"):
            store.append(DIGEST, offset, b"x")
    assert store.upload_offset(DIGEST) == 100


def test_finishing_early_leaves_the_upload_to_go_on(store: DirectoryStore) -> None:
    store.append(DIGEST, 0, DATA[:100])
    with pytest.raises(Conflict, match=f"byte 100 of {len(DATA)}"):
        store.finish(DIGEST, len(DATA))
    store.append(DIGEST, 100, DATA[100:])
    store.finish(DIGEST, len(DATA))
    assert store.verify(DIGEST)


def test_wrong_bytes_leave_nothing(store: DirectoryStore, root: Path) -> None:
    store.append(DIGEST, 0, b"wrong")
    with pytest.raises(IntegrityError, match=DIGEST):
        store.finish(DIGEST, 5)
    store.append(DIGEST, 0, DATA + b"and more")
    with pytest.raises(IntegrityError, match=f"which has {len(DATA)}"):
        store.finish(DIGEST, len(DATA))
    assert files(root) == set()
    assert not store.has(DIGEST)


def test_a_complete_artifact_is_not_written_again(store: DirectoryStore) -> None:
    put(store, DATA)
    store.finish(DIGEST, len(DATA))
    with pytest.raises(IntegrityError):
        store.finish(DIGEST, 3)
    with pytest.raises(Conflict, match="complete"):
        store.append(DIGEST, 0, b"x")
    assert store.verify(DIGEST)


def test_two_uploads_of_one_artifact_at_once(store: DirectoryStore, root: Path) -> None:
    data = os.urandom(1 << 20)
    digest = hashlib.sha256(data).hexdigest()
    failed: list[BaseException] = []

    def upload() -> None:
        try:
            while not store.has(digest):
                offset = store.upload_offset(digest)
                try:
                    if offset < len(data):
                        store.append(digest, offset, data[offset : offset + 8192])
                    else:
                        store.finish(digest, len(data))
                except Conflict:
                    continue
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=upload) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert store.verify(digest)
    assert files(root) == {f"sha256/{digest[:2]}/{digest}"}


def test_a_disk_without_room_undoes_the_upload(tiny_disk: Path) -> None:
    store = DirectoryStore(tiny_disk / "artifacts")
    small = put(store, DATA)
    data = os.urandom(2 << 20)
    digest = hashlib.sha256(data).hexdigest()
    with pytest.raises(StorageFull, match="no room left"):
        put(store, data, step=100_000)
    assert files(tiny_disk) == {f"artifacts/sha256/{small[:2]}/{small}"}
    assert not store.has(digest)
    assert store.upload_offset(digest) == 0
    free = os.statvfs(tiny_disk)
    assert free.f_bavail * free.f_frsize > 900 << 10
    assert store.verify(put(store, os.urandom(500 << 10)))


@pytest.mark.parametrize(
    "bad", ["", "ab", "../" + "a" * 61, "A" * 64, "g" * 64, "a" * 65, "a" * 64 + "\n", "a/" * 32]
)
def test_what_is_no_digest_reaches_no_file(store: DirectoryStore, bad: str) -> None:
    for attempt in (
        lambda: store.path(bad),
        lambda: store.has(bad),
        lambda: store.size(bad),
        lambda: store.upload_offset(bad),
        lambda: store.append(bad, 0, b"x"),
        lambda: store.finish(bad, 1),
        lambda: store.abort(bad),
        lambda: store.delete(bad),
        lambda: store.verify(bad),
        lambda: store.check(bad),
    ):
        with pytest.raises(InvalidInput, match="sha256"):
            attempt()


def test_what_is_not_there(store: DirectoryStore) -> None:
    assert store.path(DIGEST) is None
    assert not store.has(DIGEST)
    store.abort(DIGEST)
    store.delete(DIGEST)
    for attempt in (store.size, store.verify, store.check):
        with pytest.raises(NotFound, match=DIGEST):
            attempt(DIGEST)


def test_delete_and_abort(store: DirectoryStore, root: Path) -> None:
    put(store, DATA)
    store.delete(DIGEST)
    assert not store.has(DIGEST)
    store.append(DIGEST, 0, b"x")
    store.abort(DIGEST)
    assert files(root) == set()
    assert put(store, DATA) == DIGEST


def flip_one_bit(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.chmod(0o644)
    file.write_bytes(data)


def test_the_scrub_finds_a_flipped_bit_and_takes_the_artifact_out(
    store: DirectoryStore, root: Path
) -> None:
    digests = sorted(put(store, DATA + bytes([n])) for n in range(5))
    bad = digests[2]
    file = store.path(bad)
    assert file is not None
    flip_one_bit(file)
    assert not store.verify(bad)
    assert store.path(bad) == file
    results = list(store.scrub())
    assert [(r.digest, r.intact) for r in results] == [(d, d != bad) for d in digests]
    assert results[2].reason.startswith("its bytes have the sha256")
    assert store.path(bad) is None
    assert store.list() == [d for d in digests if d != bad]
    note = json.loads((root / "quarantine" / f"{bad}.note").read_text())
    assert note["digest"] == bad
    assert (root / "quarantine" / bad).stat().st_size == len(DATA) + 1


def test_one_artifact_is_checked_as_the_scrub_does(store: DirectoryStore, root: Path) -> None:
    put(store, DATA)
    assert store.check(DIGEST) == Scrubbed(DIGEST, True)
    file = store.path(DIGEST)
    assert file is not None
    flip_one_bit(file)
    assert not store.check(DIGEST).intact
    assert store.quarantined() == [DIGEST]
    assert files(root) == {f"quarantine/{DIGEST}", f"quarantine/{DIGEST}.note"}
    with pytest.raises(NotFound):
        store.check(DIGEST)


def test_a_machine_that_has_no_file_to_give_says_nothing_of_an_artifact(
    store: DirectoryStore,
) -> None:
    put(store, DATA)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1, limits[1]))
    try:
        with pytest.raises(Unavailable, match="reading the artifact"):
            store.check(DIGEST)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert store.check(DIGEST).intact


@pytest.mark.parametrize("replaced", [False, True])
def test_deleting_ends_the_quarantine(store: DirectoryStore, root: Path, replaced: bool) -> None:
    put(store, DATA)
    file = store.path(DIGEST)
    assert file is not None
    flip_one_bit(file)
    store.check(DIGEST)
    if replaced:
        put(store, DATA)
    store.delete(DIGEST)
    assert (files(root), store.quarantined()) == (set(), [])


def test_a_quarantined_artifact_is_replaced_by_importing_it_again(store: DirectoryStore) -> None:
    put(store, DATA)
    file = store.path(DIGEST)
    assert file is not None
    flip_one_bit(file)
    assert [r.intact for r in store.scrub()] == [False]
    assert store.upload_offset(DIGEST) == 0
    put(store, DATA)
    assert list(store.scrub()) == [Scrubbed(DIGEST, True)]


def test_the_scrub_goes_one_artifact_a_step(store: DirectoryStore) -> None:
    digests = sorted(put(store, bytes([n])) for n in range(4))
    steps = store.scrub()
    assert next(steps) == Scrubbed(digests[0], True)
    store.delete(digests[1])
    file = store.path(digests[2])
    assert file is not None
    flip_one_bit(file)
    assert next(steps).digest == digests[2]
    assert [step.digest for step in steps] == [digests[3]]


def test_stale_uploads_are_dropped_and_fresh_ones_kept(store: DirectoryStore, root: Path) -> None:
    stale, fresh = "1" * 64, "2" * 64
    for digest in (stale, fresh):
        store.append(digest, 0, b"x")
    os.utime(root / "partial" / stale, (1000, 1000))
    assert store.prune_uploads(2000.0) == [stale]
    assert store.upload_offset(stale) == 0
    assert store.upload_offset(fresh) == 1


def test_a_root_that_cannot_be_a_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="opening the artifact store"):
        DirectoryStore(tmp_path / "file")


def test_it_is_an_artifact_store(store: ArtifactStore) -> None:
    assert store.list() == []

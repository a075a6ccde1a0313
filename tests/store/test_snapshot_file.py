from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from bootserve.errors import IntegrityError, StorageFull, Unavailable
from bootserve.model.desired import (
    BootFrom,
    DesiredState,
    Node,
    Pin,
    Rack,
    Revision,
    Role,
    Scope,
    ScopeKind,
)
from bootserve.model.generation import (
    Artifact,
    Generation,
    GenerationRef,
    Manifest,
    Revocation,
    canonical_json,
)
from bootserve.model.names import Arch
from bootserve.model.shape import ShapeSetting
from bootserve.store.snapshot_file import SavedState, load_state, save_state, saved_revision

MANIFEST = Manifest(
    image="web",
    arch=Arch.ARM64,
    artifacts={
        name: Artifact(sha256=str(n) * 64, size=n)
        for n, name in enumerate(("kernel", "initrd", "root"))
    },
    packages={"linux-image": "6.1"},
)
GENERATIONS = [
    Generation(GenerationRef("web", 7), MANIFEST.digest, MANIFEST, 3.25, "ada"),
    Generation(GenerationRef("web", 8), MANIFEST.digest, MANIFEST, 4.0, "ada", removed_at=9.5),
    Generation(
        GenerationRef("web", 9),
        MANIFEST.digest,
        MANIFEST,
        5.0,
        "ada",
        revoked=Revocation(9.5, "bob", "it eats disks"),
    ),
]
PINS = [
    Pin(Scope(ScopeKind.SITE), GenerationRef("web", 7)),
    Pin(Scope(ScopeKind.NODE, "n1"), GenerationRef("web", 8)),
]
SAVED = SavedState(
    Revision(41, 1000.25, "grün", 'said "go"\n'),
    DesiredState(
        nodes={
            "n1": Node(
                "n1",
                ("52:54:00:00:00:02", "52:54:00:00:00:01"),
                rack="r1",
                role="compute",
                arch=Arch.ARM64,
                image="web",
                kernel_args="console=ttyS0",
                boot=BootFrom.LOCAL,
                nbp="snponly.efi",
                labels=(("z", "1"), ("a", "2")),
                shape=ShapeSetting.BINL,
            ),
            "n2": Node("n2", ()),
        },
        roles={"compute": Role("compute", "web", "quiet")},
        racks={"r1": Rack("r1", "hugepages=4")},
        pins={pin.key: pin for pin in PINS},
    ),
    {generation.ref: generation for generation in GENERATIONS},
    "0" * 32,
)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "state"
    save_state(path, SAVED)
    assert load_state(path) == SAVED
    assert path.stat().st_mode & 0o077 == 0


def test_the_same_state_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_state(tmp_path / name, SAVED)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_file_saved_before_nodes_had_a_shape(tmp_path: Path) -> None:
    path = tmp_path / "state"
    save_state(path, SAVED)
    data = json.loads(path.read_bytes().partition(b"\n")[2])
    data["state"]["node"] = [row[:9] for row in data["state"]["node"]]
    body = json.dumps(data).encode()
    digest = hashlib.sha256(body).hexdigest().encode()
    path.write_bytes(b"bootserve-state-1 " + digest + b"\n" + body)
    loaded = load_state(path)
    assert loaded is not None
    assert loaded.state.nodes["n1"].shape is ShapeSetting.AUTO
    assert loaded.state.nodes["n1"].nbp == "snponly.efi"


def test_no_file_is_no_state(tmp_path: Path) -> None:
    assert load_state(tmp_path / "state") is None


def test_a_flipped_bit_anywhere_is_found(tmp_path: Path) -> None:
    path = tmp_path / "state"
    save_state(path, SAVED)
    data = path.read_bytes()
    for at in range(len(data)):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(IntegrityError, match="damaged"):
            load_state(path)


def test_a_file_cut_short_is_found(tmp_path: Path) -> None:
    path = tmp_path / "state"
    save_state(path, SAVED)
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(IntegrityError, match="damaged"):
            load_state(path)


@pytest.mark.parametrize("body", [b"{}", b"[]", b"nothing", b'{"generations":[],"revision":3}'])
def test_a_whole_file_that_says_nothing_of_use(tmp_path: Path, body: bytes) -> None:
    path = tmp_path / "state"
    digest = hashlib.sha256(body).hexdigest().encode()
    path.write_bytes(b"bootserve-state-1 " + digest + b"\n" + body)
    with pytest.raises(IntegrityError, match="cannot be read"):
        load_state(path)


def test_without_room_the_last_one_stays(tiny_disk: Path) -> None:
    path = tiny_disk / "state"
    save_state(path, SAVED)
    nodes = {f"n{n}": Node(f"n{n}", (), kernel_args="x" * 1000) for n in range(2000)}
    large = SavedState(SAVED.revision, DesiredState(nodes), {}, SAVED.site_id)
    with pytest.raises(StorageFull, match="saving the state"):
        save_state(path, large)
    assert load_state(path) == SAVED
    assert os.listdir(tiny_disk) == ["state"]


def test_a_directory_in_its_place(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="reading the saved state"):
        load_state(tmp_path)


def test_the_file_is_canonical_json_however_many_nodes(tmp_path: Path) -> None:
    path = tmp_path / "state"
    for count in (0, 1, 199, 200, 201, 1000):
        nodes = {
            f"n{n}": Node(f"n{n}", (f"52:54:00:00:{n >> 8:02x}:{n & 255:02x}",))
            for n in range(count)
        }
        saved = replace(SAVED, state=replace(SAVED.state, nodes=nodes))
        save_state(path, saved)
        body = path.read_bytes().partition(b"\n")[2]
        assert body == canonical_json(json.loads(body))
        assert load_state(path) == saved


def test_the_revision_can_be_read_by_itself(tmp_path: Path) -> None:
    path = tmp_path / "state"
    assert saved_revision(path) is None
    told = Revision(41, 1.0, '"revision":[7,', '\\"revision":[8,')
    save_state(path, replace(SAVED, revision=told, site_id='"revision":[9,'))
    assert saved_revision(path) == 41
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(IntegrityError):
        saved_revision(path)

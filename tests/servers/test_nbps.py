"""NBPs that an admin adds, through the whole server: offered, served, never replaced."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

import pytest
import tftpy
from vm_harness.net import Namespace
from vm_harness.server import BootServer

from bootserve.wire.dhcp import OPT_BOOTFILE, DhcpPacket
from tests.support.api import Admin, Problem
from tests.support.curl import curl
from tests.support.dhcp import answered
from tests.support.netns import inside

MAC = "02:00:00:44:00:50"
IPXE = Path("/usr/lib/ipxe")
SNPONLY, UNDIONLY = (IPXE / "snponly.efi").read_bytes(), (IPXE / "undionly.kpxe").read_bytes()
OTHER = SNPONLY + b"another build"


def path_of(name: str, data: bytes) -> str:
    return f"sha256/{hashlib.sha256(data).hexdigest()}/{name}"


def add(admin: Admin, name: str, arch: str, data: bytes) -> Any:
    digest = admin.upload(data).sha256
    return admin.call("POST", "/nbps", name=name, arch=arch, digest=digest)


@pytest.fixture(scope="module", autouse=True)
def nodes(admin: Admin, client: Namespace) -> None:
    client.ip("link", "set", "eth1", "address", MAC)
    admin.call("POST", "/nodes", name="here", macs=[MAC], rack="r1")
    assert add(admin, "new.efi", "x64", SNPONLY)["created"]
    assert add(admin, "other.efi", "x64", OTHER)["created"]
    assert add(admin, "new.kpxe", "bios", UNDIONLY)["created"]


def pin(admin: Admin, scope: str, nbp: str) -> Any:
    return admin.call("PUT", "/nbp-pins", scope=scope, nbp=nbp)


def offered(client: Namespace, arch: int = 7, vendor: bytes = b"PXEClient") -> str:
    """Broadcast a firmware's DISCOVER and return the boot file that it is offered; '' for none."""
    options = {53: b"\1", 60: vendor, 93: arch.to_bytes(2, "big"), 97: bytes(17)}
    chaddr = bytes.fromhex(MAC.replace(":", ""))
    packet = DhcpPacket(op=1, xid=0xCAFE, chaddr=chaddr, flags=0x8000, options=options)
    found = answered(client, packet, lambda one: one.options.get(OPT_BOOTFILE, b""), 1.5)
    return found.decode()


def fetched(client: Namespace, name: str, folder: Path) -> bytes:
    with inside(client.name):
        tftpy.TftpClient("10.44.0.2", 69).download(name, str(folder / "nbp"))
    return (folder / "nbp").read_bytes()


def test_the_pinned_nbp_is_offered_and_served_by_its_digest(
    admin: Admin, client: Namespace, tmp_path: Path
) -> None:
    assert (offered(client), offered(client, 0)) == ("ipxe.efi", "undionly.kpxe")
    assert pin(admin, "site", "other.efi")["nodes_changed"] == 1
    pin(admin, "rack/r1", "new.efi")
    pin(admin, "rack/r1", "new.kpxe")
    name = path_of("new.efi", SNPONLY)
    assert offered(client) == name
    assert offered(client, 0) == path_of("new.kpxe", UNDIONLY)
    assert fetched(client, name, tmp_path) == SNPONLY
    url = f"http://10.44.0.2:8080/nbp/{name}"
    assert offered(client, 16, b"HTTPClient") == url
    answer = curl(client, f"/nbp/{name}")
    assert (answer.status, answer.body) == (200, SNPONLY)
    assert answer.headers["content-type"] == "application/efi"
    assert "immutable" in answer.headers["cache-control"]
    explained = admin.call("GET", "/nodes/here/explain")["nbps"]
    assert [(one["arch"], one["nbp"], one["scope"], one["problem"]) for one in explained] == [
        ("bios", "new.kpxe", "rack/r1", ""),
        ("x64", "new.efi", "rack/r1", ""),
    ]
    listed = admin.call("GET", "/nbps")
    assert {(one["scope"], one["nbp"], one["nodes"]) for one in listed["pins"]} == {
        ("rack/r1", "new.efi", 1),
        ("rack/r1", "new.kpxe", 1),
        ("site", "other.efi", 0),
    }


def test_a_nodes_own_file_beats_its_racks_pin_and_its_pin_beats_that(
    admin: Admin, client: Namespace
) -> None:
    admin.call("PATCH", "/nodes/here", nbp="snponly.efi")
    assert offered(client) == "snponly.efi"
    pin(admin, "node/here", "other.efi")
    assert offered(client) == path_of("other.efi", OTHER)
    admin.call("DELETE", "/nbp-pins?scope=node/here")
    admin.call("PATCH", "/nodes/here", nbp="")


@pytest.mark.parametrize(
    "name",
    [
        path_of("new.efi", OTHER),
        path_of("nope.efi", SNPONLY),
        path_of("autoexec.ipxe", SNPONLY),
        "sha256/../../bootserve.db",
        "sha256//new.efi",
    ],
)
def test_nothing_else_is_served_below_a_digest(
    client: Namespace, name: str, tmp_path: Path
) -> None:
    assert curl(client, f"/nbp/{name}").status == 404
    with pytest.raises(tftpy.TftpException):
        fetched(client, name, tmp_path)


def test_one_that_is_pinned_cannot_be_removed_and_a_name_is_never_another_file(
    admin: Admin,
) -> None:
    with pytest.raises(Problem, match=r"new\.efi is in use: pin rack/r1 \(now\)"):
        admin.call("DELETE", "/nbps/new.efi")
    with pytest.raises(Problem, match="is the name of another NBP"):
        add(admin, "new.efi", "x64", OTHER)
    assert not add(admin, "new.efi", "x64", SNPONLY)["created"]
    add(admin, "unused.efi", "x64", SNPONLY + b"!")
    gone = admin.call("DELETE", "/nbps/unused.efi")
    assert (gone["stored"], gone["removed_at"] is None) == (False, False)
    with pytest.raises(Problem, match=r"no NBP unused\.efi"):
        pin(admin, "site", "unused.efi")
    with pytest.raises(Problem, match="has not been uploaded"):
        admin.call("POST", "/nbps", name="x.efi", arch="x64", digest="0" * 64)
    with pytest.raises(Problem, match="no BIOS can start"):
        add(admin, "x.kpxe", "bios", SNPONLY)


def test_a_rollback_restores_what_was_pinned(admin: Admin, client: Namespace) -> None:
    before = admin.call("GET", "/status")["revision"]["number"]
    pin(admin, "rack/r1", "other.efi")
    assert offered(client) == path_of("other.efi", OTHER)
    admin.call("POST", "/rollback", to=before)
    assert offered(client) == path_of("new.efi", SNPONLY)


def test_a_damaged_one_is_not_offered_nor_replaced_also_with_the_database_away(
    admin: Admin, client: Namespace, server: BootServer, tmp_path: Path
) -> None:
    name = path_of("new.efi", SNPONLY)
    assert fetched(client, name, tmp_path) == SNPONLY
    file = next(server.state_dir.rglob(hashlib.sha256(SNPONLY).hexdigest()))
    file.chmod(0o644)
    file.write_bytes(SNPONLY[:-1] + b"?")
    time.sleep(1.5)  # what was read and verified before is given out for a second
    with pytest.raises(tftpy.TftpException):
        fetched(client, name, tmp_path)
    assert admin.call("POST", "/scrub")["quarantined"] == [hashlib.sha256(SNPONLY).hexdigest()]
    assert offered(client) == ""
    assert "NBP new.efi, pinned at rack/r1, is not in the store" in server.log.read_text()
    explained = {one["arch"]: one for one in admin.call("GET", "/nodes/here/explain")["nbps"]}
    assert explained["x64"]["problem"] == "it is not in the store: add its file again"
    server.terminate()
    database = server.state_dir / "bootserve.db"
    kept = database.read_bytes()
    database.write_bytes(b"this is no database" * 1000)
    server.start()
    assert (offered(client), offered(client, 0)) == ("", path_of("new.kpxe", UNDIONLY))
    admin.upload(SNPONLY)
    assert offered(client) == name
    assert fetched(client, name, tmp_path) == SNPONLY
    server.terminate()
    database.write_bytes(kept)

"""A byte that flips in the store: found, taken out of service, and mended by an import."""

from __future__ import annotations

import hashlib
import os
import time

import pytest
from vm_harness.lab import Lab
from vm_harness.server import BootServer

from bootserve.model.generation import Manifest
from bootserve.model.names import Arch
from tests.service.conftest import Servers
from tests.support.api import Admin, Problem
from tests.support.curl import curl


def flip(server: BootServer, digest: str) -> bytes:
    """Flip a bit of the artifact with ``digest`` where it is stored; return what it is now."""
    path = next(server.state_dir.rglob(f"sha256/*/{digest}"))
    path.chmod(0o600)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    return bytes(data)


def wait_quarantined(admin: Admin, digest: str) -> None:
    deadline = time.monotonic() + 60
    while admin.call("GET", "/status")["quarantined"] != [digest]:
        assert time.monotonic() < deadline, "the scrub has not found it"
        time.sleep(0.1)


@pytest.mark.parametrize("finder", ["verify", "scrub"])
def test_a_flipped_byte_in_the_store(lab: Lab, servers: Servers, finder: str) -> None:
    server = servers.start()
    admin = Admin(server.state_dir)
    client = lab.client(f"flip-{finder}", "10.44.0.63")
    root = os.urandom(100_000)
    name = admin.publish("web", "1", root)
    manifest = admin.call("GET", f"/generations/{name}")["manifest"]
    digest = manifest["artifacts"]["root"]["sha256"]
    assert admin.call("POST", f"/generations/{name}/verify")["intact"]
    assert admin.call("POST", "/scrub") == {"checked": 3, "quarantined": []}

    # until it is found it is served as it is: the node, which verifies, refuses it
    assert flip(server, digest) == curl(client, f"/artifacts/sha256/{digest}").body
    if finder == "verify":
        verified = admin.call("POST", f"/generations/{name}/verify")
        assert verified["artifacts"] == {"kernel": "ok", "initrd": "ok", "root": "corrupt"}
        assert not verified["intact"]
    else:
        assert admin.call("POST", "/scrub") == {"checked": 3, "quarantined": [digest]}
    assert curl(client, f"/artifacts/sha256/{digest}").status == 404
    assert any("quarantined" in line and digest in line for line in server.log_text().splitlines())
    status = admin.call("GET", "/status")
    assert (status["ready"], status["quarantined"]) == (False, [digest])
    assert "1 artifact is in quarantine" in admin.unready()
    assert admin.call("POST", f"/generations/{name}/verify")["artifacts"]["root"] == "missing"
    server.restart()
    assert admin.call("GET", "/status")["quarantined"] == [digest]

    assert admin.publish("web", "1", root) == name
    assert curl(client, f"/artifacts/sha256/{digest}").body == root
    assert admin.call("GET", "/status")["ready"]


def test_a_quarantine_ends_when_what_needed_the_artifact_is_removed(servers: Servers) -> None:
    server = servers.start()
    admin = Admin(server.state_dir)
    program = bytes(range(256)) * 4  # a BIOS may start anything that is no EFI program
    nbp = admin.upload(program).sha256
    admin.call("POST", "/nbps", name="odd.kpxe", arch="bios", digest=nbp)
    artifacts = [admin.publish("web", text) for text in ("1", "2")]
    roots = [
        admin.call("GET", f"/generations/{name}")["manifest"]["artifacts"]["root"]["sha256"]
        for name in artifacts
    ]
    for digest in (nbp, *roots):
        flip(server, digest)
    assert admin.call("POST", "/scrub")["quarantined"] == sorted((nbp, *roots))
    admin.call("DELETE", "/nbps/odd.kpxe")
    admin.call("DELETE", "/generations/web@1")
    assert admin.call("GET", "/status")["quarantined"] == [roots[1]]
    assert not admin.call("GET", "/status")["ready"]
    admin.call("DELETE", "/generations/web@2")
    status = admin.call("GET", "/status")
    assert (status["ready"], status["quarantined"], status["problems"]) == (True, [], [])
    assert admin.raw("GET", "/readyz")[0] == 200
    assert list((server.state_dir / "artifacts" / "quarantine").iterdir()) == []


def test_the_scrub_comes_round_by_itself(servers: Servers) -> None:
    server = servers.start("--scrub-hours", "0.0002")
    admin = Admin(server.state_dir)
    admin.publish("web", "1")
    admin.call("POST", "/scrub")
    digest = hashlib.sha256(b"root 1").hexdigest()
    flip(server, digest)
    wait_quarantined(admin, digest)


def test_a_generation_in_use_is_not_removed_and_a_removed_one_keeps_its_manifest(
    servers: Servers,
) -> None:
    server = servers.start()
    admin = Admin(server.state_dir)
    admin.publish("web", "1")
    admin.publish("web", "2")
    admin.publish("spare", "spare")
    admin.call("PUT", "/roles/compute", image="web")
    admin.call("PUT", "/pins", scope="site", generation="web@1")
    admin.call("PUT", "/pins", scope="site", generation="web@2")
    for name, words in (("web@2", "pin site"), ("web@1", "revision")):
        status, answer = admin.raw("DELETE", f"/api/v1/generations/{name}")
        assert status == 409
        assert words in answer.decode()
    removed = admin.call("DELETE", "/generations/spare@1")
    assert removed["removed_at"] is not None
    names = [one["name"] for one in admin.call("GET", "/generations")["generations"]]
    assert names == ["web@1", "web@2"]
    manifest = admin.call("GET", "/generations/spare@1")["manifest"]
    assert manifest["image"] == "spare"
    for artifact in manifest["artifacts"].values():
        assert list(server.state_dir.rglob(artifact["sha256"])) == []
    status, answer = admin.raw("PUT", "/api/v1/pins", b'{"scope": "site", "generation": "spare@1"}')
    assert (status, "were removed" in answer.decode()) == (404, True)
    assert admin.publish("spare", "spare") == "spare@1"


def test_a_manifest_that_does_not_match_what_came_is_no_generation(servers: Servers) -> None:
    server = servers.start()
    admin = Admin(server.state_dir)
    parts = {part: admin.upload(part.encode()) for part in ("kernel", "initrd", "root")}
    true = Manifest(image="web", arch=Arch.AMD64, artifacts=parts).to_bytes().decode()
    root = parts["root"].sha256
    other = hashlib.sha256(b"roof").hexdigest()

    def refused(manifest: str) -> tuple[int, str]:
        with pytest.raises(Problem) as caught:
            admin.call("POST", "/generations", manifest=manifest)
        return caught.value.status, caught.value.document["detail"]

    assert refused(true.replace(root, other)) == (409, f"the root {other} has not been uploaded")
    status, answer = admin.raw("PUT", f"/api/v1/artifacts/{other}?size=4", b"root")
    assert (status, f"has the sha256 {root}" in answer.decode()) == (422, True)
    assert refused(true.replace(root, other))[0] == 409
    sized = true.replace(f'"{root}","size":4', f'"{root}","size":5')
    assert refused(sized) == (400, "the root has 4 bytes, not 5")
    assert refused(f" {true}") == (400, "the manifest is not canonical JSON")
    assert refused(true.replace('"format":1', '"format":2'))[0] == 400
    assert admin.call("GET", "/generations?removed=true")["generations"] == []
    assert list(server.state_dir.rglob(other)) == []

    found = admin.call("POST", "/generations", manifest=true)["generation"]
    assert found["digest"] == hashlib.sha256(true.encode()).hexdigest()

"""A byte that flips in the store: found, taken out of service, and mended by an import."""

from __future__ import annotations

import os

from vm_harness.lab import Lab

from tests.service.conftest import Servers
from tests.support.api import Admin
from tests.support.curl import curl


def test_a_flipped_byte_in_the_store(lab: Lab, servers: Servers) -> None:
    server = servers.start()
    admin = Admin(server.state_dir)
    client = lab.client("flip", "10.44.0.63")
    root = os.urandom(100_000)
    name = admin.publish("web", "1", root)
    manifest = admin.call("GET", f"/generations/{name}")["manifest"]
    digest = manifest["artifacts"]["root"]["sha256"]
    path = next(server.state_dir.rglob(digest))
    assert admin.call("POST", f"/generations/{name}/verify")["intact"]
    assert admin.call("POST", "/scrub") == {"checked": 3, "quarantined": []}

    path.chmod(0o600)
    data = bytearray(path.read_bytes())
    data[50_000] ^= 1
    path.write_bytes(data)
    # until it is found it is served as it is: the node, which verifies, refuses it
    assert curl(client, f"/artifacts/sha256/{digest}").body == bytes(data)
    verified = admin.call("POST", f"/generations/{name}/verify")
    assert verified["artifacts"] == {"kernel": "ok", "initrd": "ok", "root": "corrupt"}
    assert admin.call("POST", "/scrub") == {"checked": 3, "quarantined": [digest]}
    assert curl(client, f"/artifacts/sha256/{digest}").status == 404
    status = admin.call("GET", "/status")
    assert (status["ready"], status["quarantined"]) == (False, [digest])
    assert "1 artifact is in quarantine" in admin.unready()
    assert admin.call("POST", f"/generations/{name}/verify")["artifacts"]["root"] == "missing"
    server.restart()
    assert admin.call("GET", "/status")["quarantined"] == [digest]

    assert admin.publish("web", "1", root) == name
    assert curl(client, f"/artifacts/sha256/{digest}").body == root
    assert admin.call("GET", "/status")["ready"]


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

"""The boot plane over HTTP, from a namespace on the provisioning network."""

from __future__ import annotations

import hashlib
import json
import random
import re
import time

import pytest
from vm_harness.net import Namespace
from vm_harness.server import BootServer

from tests.support.api import Admin
from tests.support.curl import curl

MAC = "02:00:00:44:00:50"
OTHER = "52:54:00:44:00:51"
ROOT = random.Random(1).randbytes(3_000_000)
DIGEST = hashlib.sha256(ROOT).hexdigest()
ARTIFACT = f"/artifacts/sha256/{DIGEST}"
TOKEN = "a" * 64


@pytest.fixture(scope="module", autouse=True)
def nodes(admin: Admin, client: Namespace) -> None:
    client.ip("link", "set", "eth1", "address", MAC)
    admin.publish("web", "1", ROOT, cmdline="console=ttyS0")
    admin.publish("web", "2")
    admin.call("PUT", "/roles/compute", image="web")
    admin.call("POST", "/nodes", name="here", macs=[MAC, "52:54:00:44:00:99"], role="compute")
    admin.call("POST", "/nodes", name="there", macs=[OTHER], role="compute")
    admin.call("PUT", "/pins", scope="site", generation="web@1")


def script_of(client: Namespace, mac: str = MAC) -> str:
    answer = curl(client, f"/boot/{mac}.ipxe")
    assert answer.status == 200, answer.text
    return answer.text


def boot_id(script: str) -> str:
    found = re.search(r"bootserve\.boot=([0-9a-f]{32})", script)
    assert found, script
    return found[1]


def boots(admin: Admin, node: str = "here") -> list[dict[str, object]]:
    found: list[dict[str, object]] = admin.call("GET", f"/boots?node={node}")["boots"]
    return found


@pytest.mark.parametrize(
    "spelling",
    [
        MAC,
        MAC.replace(":", "-"),
        MAC.upper(),
        MAC.replace(":", ""),
        MAC.upper().replace(":", "-"),
        "0200.0044.0050",
        "2:0:0:44:0:50",
        "01-" + MAC.replace(":", "-"),
        f"%20{MAC}",
    ],
)
def test_any_usual_spelling_of_a_mac(client: Namespace, spelling: str) -> None:
    answer = curl(client, f"/boot/{spelling}.ipxe")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.headers["cache-control"] == "no-store"
    assert "bootserve.generation=web@1" in answer.text


@pytest.mark.parametrize(
    "mac",
    [
        *("", "%20", "%00", "..", "zz", "52:54:00", "a" * 3000),
        *("ff:ff:ff:ff:ff:ff", "00-00-00-00-00-00", "02:00-00:44-00:50", "0200.0044:0050"),
        *("0200.0044.005", "02-" + MAC.replace(":", "-")),
    ],
)
def test_what_is_no_mac_gets_a_plain_400(client: Namespace, mac: str) -> None:
    answer = curl(client, f"/boot/{mac}.ipxe")
    assert answer.status == 400
    assert answer.text.count("\n") == 1


def test_an_unknown_mac_gets_404_and_leaves_no_trace(client: Namespace, admin: Admin) -> None:
    assert curl(client, "/boot/52-54-00-ee-ee-ee.ipxe").status == 404
    assert admin.call("GET", "/discovered")["machines"] == []


def test_a_retry_gets_the_same_boot_and_head_mints_none(client: Namespace, admin: Admin) -> None:
    first = boot_id(script_of(client))
    before = len(boots(admin))
    assert boot_id(script_of(client)) == first
    head = curl(client, f"/boot/{MAC}.ipxe", "--head")
    assert head.status == 200
    assert admin.call("GET", "/nodes/here/explain")["script"].startswith("#!ipxe")
    assert len(boots(admin)) == before


def test_another_machine_on_the_segment_does_not_get_a_nodes_boot(
    client: Namespace, admin: Admin
) -> None:
    answer = curl(client, f"/boot/{OTHER}.ipxe")
    assert answer.status == 403
    assert answer.text == f"10.44.0.50 has MAC {MAC}, which is not node there's\n"
    assert boots(admin, "there") == []


def test_a_preview_is_for_whoever_asks_and_mints_nothing(client: Namespace, admin: Admin) -> None:
    admin.call("PUT", "/roles/compute", image="web", kernel_args="secret=1")
    before = len(boots(admin))
    own = curl(client, f"/boot/{MAC}.ipxe?preview=1").text
    assert "secret=1" in own
    assert " bootserve.boot=preview " in own
    assert len(boots(admin)) == before
    others = curl(client, f"/boot/{OTHER}.ipxe?preview=1")
    assert (others.status, "secret" in others.text) == (200, False)
    assert f"bootserve.root={DIGEST}" in others.text
    assert curl(client, f"/boot/{OTHER}.ipxe", "--head").status == 403
    assert curl(client, f"/boot/{OTHER}.ipxe?preview=0").status == 403
    assert boots(admin, "there") == []
    assert curl(client, "/boot/52-54-00-ee-ee-ef.ipxe?preview=1").status == 404
    assert admin.call("GET", "/discovered")["machines"] == []
    admin.call("PUT", "/roles/compute", image="web", kernel_args="")


def test_a_changed_pin_is_in_the_next_script_whole(client: Namespace, admin: Admin) -> None:
    one = script_of(client)
    admin.call("PUT", "/pins", scope="node/here", generation="web@2")
    two = script_of(client)
    assert ("web@1" in one, "web@2" in one) == (True, False)
    assert ("web@1" in two, "web@2" in two) == (False, True)
    assert boot_id(one) != boot_id(two)
    admin.call("DELETE", "/pins?scope=node/here")


def test_artifacts_are_immutable_whole_and_in_ranges(client: Namespace) -> None:
    whole = curl(client, ARTIFACT)
    assert (whole.status, whole.body) == (200, ROOT)
    assert whole.headers["etag"] == f'"{DIGEST}"'
    assert whole.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert whole.headers["content-length"] == str(len(ROOT))
    part = curl(client, ARTIFACT, "-r", "2000000-")
    assert (part.status, part.body) == (206, ROOT[2_000_000:])
    assert part.headers["content-range"] == f"bytes 2000000-{len(ROOT) - 1}/{len(ROOT)}"
    middle = curl(client, ARTIFACT, "-r", "10-19")
    assert (middle.status, middle.body) == (206, ROOT[10:20])
    tail = curl(client, ARTIFACT, "-r", "-5")
    assert (tail.status, tail.body) == (206, ROOT[-5:])
    head = curl(client, ARTIFACT, "--head")
    assert (head.status, head.headers["content-length"]) == (200, str(len(ROOT)))


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (f'If-None-Match: "{DIGEST}"', 304),
        ('If-None-Match: "other"', 200),
        (f"Range: bytes={len(ROOT)}-", 416),
        ("Range: bytes=9-1", 200),
        ("Range: lines=1-2", 200),
    ],
)
def test_conditional_and_odd_ranges(client: Namespace, header: str, status: int) -> None:
    assert curl(client, ARTIFACT, "-H", header).status == status


@pytest.mark.parametrize(("etag", "status"), [(f'"{DIGEST}"', 206), ('"other"', 200)])
def test_if_range(client: Namespace, etag: str, status: int) -> None:
    answer = curl(client, ARTIFACT, "-H", f"If-Range: {etag}", "-H", "Range: bytes=1-2")
    assert answer.status == status


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"/artifacts/sha256/{'0' * 64}", 404),
        ("/artifacts/sha256/../../bootserve.db", 404),
        ("/artifacts/sha256/%2e%2e%2fbootserve.db", 400),
        ("/artifacts/sha256/abc", 400),
        ("/nbp/nope.efi", 404),
        ("/nbp/..%2f..%2fetc%2fpasswd", 404),
        ("/", 404),
        ("/api/v1/status", 404),
    ],
)
def test_what_is_not_served(client: Namespace, path: str, status: int) -> None:
    assert curl(client, path).status == status


def test_nbps_are_served_as_efi_programs(client: Namespace) -> None:
    answer = curl(client, "/nbp/snponly.efi")
    assert answer.headers["content-type"] == "application/efi"
    assert answer.body[:2] == b"MZ"


def nbps_loaded(admin: Admin) -> int:
    """Return how many NBPs were fetched by HTTP, as the metrics say."""
    metrics = admin.raw("GET", "/metrics")[1].decode()
    found = re.search(r'^bootserve_phases_total{phase="http"} (\d+)', metrics, re.M)
    return int(found[1]) if found else 0


def test_only_a_whole_nbp_counts_as_fetched(client: Namespace, admin: Admin) -> None:
    before = nbps_loaded(admin)
    for part in ("-1", "1-", "0-0"):
        assert curl(client, "/nbp/snponly.efi", "-r", part).status == 206
    for _ in range(2):
        assert curl(client, "/nbp/snponly.efi").status == 200
        deadline = time.monotonic() + 60
        while (now := nbps_loaded(admin)) == before:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert now == before + 1
        before = now


def post(client: Namespace, boot: str, query: str, token: str = TOKEN, text: str = "") -> int:
    options = ["--data-binary", text]
    if token:
        options += ["-H", f"Authorization: Bearer {token}"]
    return curl(client, f"/report/{boot}?{query}", *options).status


def test_the_first_token_binds_the_boot_and_no_other_is_taken(
    client: Namespace, admin: Admin
) -> None:
    admin.call("PUT", "/pins", scope="node/here", generation="web@2")
    boot = boot_id(script_of(client))
    assert curl(client, f"/seed/{boot}/meta-data").status == 401
    assert post(client, boot, "phase=initramfs", token="") == 401
    assert post(client, boot, "phase=initramfs", token="short") == 401
    assert post(client, boot, "phase=initramfs") == 202
    assert post(client, boot, "phase=initramfs") == 202
    assert post(client, boot, "phase=up", token="b" * 64) == 403
    assert post(client, boot, f"phase=up&generation=web@2&root={'1' * 64}&uptime=9.5") == 202
    bearer = f"Authorization: Bearer {TOKEN}"
    seed = curl(client, f"/seed/{boot}/meta-data", "-H", bearer)
    assert seed.status == 200
    assert '"local-hostname": "here"' in seed.text
    strange = f"Authorization: Bearer {'b' * 64}"
    assert curl(client, f"/seed/{boot}/meta-data", "-H", strange).status == 403
    assert curl(client, f"/seed/{boot}/user-data", "-H", bearer).text == "#cloud-config\n{}\n"
    assert curl(client, f"/seed/{boot}/../../x", "-H", bearer).status == 404
    seen = next(one for one in boots(admin) if one["id"] == boot)
    assert seen["reported_root"] == "1" * 64
    admin.call("DELETE", "/pins?scope=node/here")


@pytest.mark.parametrize(
    "query",
    [
        "",
        "phase=nope",
        "phase=dhcp",
        "phase=up&root=xyz",
        "phase=up&uptime=soon",
        "phase=up&uptime=nan",
        "phase=up&uptime=-1",
        f"phase=up&generation={'a' * 200}",
    ],
)
def test_malformed_reports_are_refused(client: Namespace, query: str) -> None:
    boot = boot_id(script_of(client))
    assert post(client, boot, query) == 400


def test_reports_of_no_boot_and_too_large_ones(client: Namespace, tmp_path: object) -> None:
    assert post(client, "0" * 32, "phase=up") == 404
    assert post(client, "nonsense", "phase=up") == 404
    boot = boot_id(script_of(client))
    assert post(client, boot, "phase=failed", text="x" * 65_537) == 400
    assert post(client, boot, "phase=failed", text="x" * 65_536) == 202


def test_phases_join_into_the_boot(client: Namespace, admin: Admin, server: BootServer) -> None:
    admin.call("PUT", "/pins", scope="node/here", generation="web@1")
    script = script_of(client)
    boot = boot_id(script)
    for digest in re.findall(r"/artifacts/sha256/([0-9a-f]{64})", script):
        assert curl(client, f"/artifacts/sha256/{digest}").status == 200
    assert curl(client, ARTIFACT, "-r", "0-99").status == 206
    seen = next(one for one in boots(admin) if one["id"] == boot)
    assert isinstance(seen["phases"], list)
    phases = {one["phase"] for one in seen["phases"]}
    assert {"script", "kernel", "initrd"} <= phases
    assert "root" not in phases
    assert curl(client, ARTIFACT).status == 200
    seen = next(one for one in boots(admin) if one["id"] == boot)
    assert isinstance(seen["phases"], list)
    assert "root" in {one["phase"] for one in seen["phases"]}
    # the node says so too, twice when an answer is lost: the log has one line a phase all the same
    for phase in ("root", "verified", "verified"):
        assert post(client, boot, f"phase={phase}") == 202
    lines = [json.loads(line) for line in server.log_text().splitlines()]
    events = [line["event"] for line in lines if line.get("boot") == boot]
    assert [events.count(phase) for phase in ("root", "verified")] == [1, 1]


def test_a_killed_server_forgets_nothing_that_it_answered(
    client: Namespace, admin: Admin, server: BootServer
) -> None:
    admin.call("PUT", "/pins", scope="node/here", generation="web@2")
    boot = boot_id(script_of(client))
    assert post(client, boot, "phase=initramfs") == 202
    server.kill()
    server.start()
    assert post(client, boot, "phase=up", token="c" * 64) == 403
    assert post(client, boot, f"phase=up&generation=web@2&root={'2' * 64}") == 202
    seen = next(one for one in boots(admin) if one["id"] == boot)
    assert seen["reported_root"] == "2" * 64
    assert admin.call("GET", "/pins")["pins"][0]["generation"] == "web@2"
    admin.call("DELETE", "/pins?scope=node/here")

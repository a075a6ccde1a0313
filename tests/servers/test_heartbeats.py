"""Heartbeats over HTTP, from a namespace on the provisioning network."""

from __future__ import annotations

import hashlib
import re
import time

import pytest
from vm_harness.net import Namespace

from tests.support.api import Admin
from tests.support.curl import Answer, curl

MAC = "02:00:00:44:00:50"
TOKEN = "a" * 64
ROOT = b"root 1"
DIGEST = hashlib.sha256(ROOT).hexdigest()
SEAL = "5" * 64
DRIFT = b"total 2\nwritten file 0644 root:root 3 1.5 - /etc/new//\nmount - - - 0 0 - /usr/bin//x\n"


@pytest.fixture(scope="module", autouse=True)
def nodes(admin: Admin, client: Namespace) -> None:
    client.ip("link", "set", "eth1", "address", MAC)
    admin.publish("web", "1", ROOT)
    admin.publish("web", "2")
    admin.call("PUT", "/roles/compute", image="web")
    admin.call("POST", "/nodes", name="here", macs=[MAC], role="compute", rack="r1")
    admin.call("PUT", "/pins", scope="site", generation="web@1")


@pytest.fixture
def boot(client: Namespace) -> str:
    found = re.search(r"bootserve\.boot=([0-9a-f]{32})", curl(client, f"/boot/{MAC}.ipxe").text)
    assert found
    up = f"/report/{found[1]}?phase=up&generation=web@1&root={DIGEST}&baseline={SEAL}"
    assert post(client, up).status == 202
    return found[1]


def post(client: Namespace, path: str, body: bytes = b"", token: str = TOKEN) -> Answer:
    auth = ["-H", f"Authorization: Bearer {token}"] if token else []
    return curl(client, path, "--data-binary", body.decode("latin-1"), *auth)


def beat(client: Namespace, boot: str, body: bytes = b"", /, **fields: str) -> Answer:
    said = {"generation": "web@1", "root": DIGEST, "uptime": "9.5", "baseline": SEAL, **fields}
    query = "&".join(f"{name}={value}" for name, value in said.items())
    return post(client, f"/heartbeat/{boot}?{query}", body)


def test_the_answer_has_the_interval(client: Namespace, boot: str) -> None:
    answer = beat(client, boot, time=str(time.time() + 5))
    assert (answer.status, answer.text) == (200, "interval=60\n")
    assert answer.headers["cache-control"] == "no-store"


def test_drift_is_asked_for_until_it_is_told(client: Namespace, boot: str) -> None:
    digest = hashlib.sha256(DRIFT).hexdigest()
    assert "send=drift\n" in beat(client, boot, drift=digest).text
    assert beat(client, boot, DRIFT, drift=digest).text == "interval=60\n"
    assert beat(client, boot, drift=digest).text == "interval=60\n"
    assert beat(client, boot).text == "interval=60\n"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"root": "xyz"}, "root must be a sha256"),
        ({"baseline": "5"}, "baseline must be a sha256"),
        ({"drift": "g" * 64}, "drift must be a sha256"),
        ({"uptime": "never"}, "uptime must be a number"),
        ({"time": "nan"}, "time must be a number"),
        ({"rebooting": "%20"}, "rebooting must be the name"),
        ({"generation": "a" * 101}, "generation must be written as IMAGE@N"),
    ],
)
def test_what_is_malformed_is_named(
    client: Namespace, boot: str, fields: dict[str, str], said: str
) -> None:
    answer = beat(client, boot, b"", **fields)
    assert (answer.status, said in answer.text) == (400, True), answer.text


def test_a_body_must_be_the_drift_that_it_is_said_to_be(client: Namespace, boot: str) -> None:
    assert beat(client, boot, DRIFT, drift="7" * 64).status == 400
    bad = b"nonsense"
    assert beat(client, boot, bad, drift=hashlib.sha256(bad).hexdigest()).status == 400
    large = b"total 1\n" + b"x" * (64 << 10)
    assert "larger than 65536" in beat(client, boot, large, drift="7" * 64).text


def test_only_the_holder_of_the_boots_token_is_heard(client: Namespace, boot: str) -> None:
    path = f"/heartbeat/{boot}"
    assert post(client, path, token="").status == 401
    assert post(client, path, token="b" * 64).status == 403
    assert post(client, f"/heartbeat/{'0' * 32}").status == 404
    assert post(client, f"/heartbeat/{boot}/file?path=/etc/motd&lower=-&upper=-").status == 403

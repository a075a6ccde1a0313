"""Commands on drift, against a real server and a node that sends heartbeats."""

from __future__ import annotations

import hashlib
import re
import threading
import time

import pytest
from vm_harness.net import Namespace

from tests.cli.runner import Cli
from tests.cli.test_complete import completed
from tests.support.api import Admin
from tests.support.curl import Answer, curl

MAC = "02:00:00:44:00:50"
TOKEN = "a" * 64
SEAL = "5" * 64
ROOT = hashlib.sha256(b"root 1").hexdigest()
DRIFT = (
    b"total 5\n"
    b"changed file 0644 root:root 3287 1716421330 " + b"b" * 64 + b" /etc/ssh/sshd_config//\n"
    b"mount - - - 0 0 - /usr/bin//tmpfs \x1b[31m\n"
)
DIGEST = hashlib.sha256(DRIFT).hexdigest()


@pytest.fixture(scope="module", autouse=True)
def boot(cli: Cli, admin: Admin, client: Namespace) -> str:
    client.ip("link", "set", "eth1", "address", MAC)
    admin.publish("web", "1")
    admin.publish("web", "2")
    cli("node", "add", "n1", "--mac", MAC, "--image", "web", "--rack", "r1")
    cli("node", "add", "n2", "--mac", "02:00:00:44:00:51", "--image", "web", "--rack", "r2")
    cli("pin", "site", "web@1", "-m", "first")
    found = re.search(r"bootserve\.boot=([0-9a-f]{32})", curl(client, f"/boot/{MAC}.ipxe").text)
    assert found
    return found[1]


def post(client: Namespace, path: str, body: bytes = b"") -> Answer:
    auth = ["-H", f"Authorization: Bearer {TOKEN}"]
    return curl(client, path, "--data-binary", body.decode("latin-1"), *auth)


def beat(client: Namespace, boot: str, body: bytes = b"", drift: str = "") -> str:
    said = f"root={ROOT}&uptime=9&baseline={SEAL}&drift={drift}"
    answer = post(client, f"/heartbeat/{boot}?generation=web@1&{said}", body)
    assert answer.status == 200, answer.text
    return answer.text


def test_a_site_without_drift(cli: Cli, client: Namespace, boot: str) -> None:
    assert cli("drift").err == "No drift. 0 nodes report, 2 never did.\n"
    beat(client, boot)
    assert cli("drift").err == "No drift. 1 nodes report, 1 never did.\n"
    listed = cli("drift", "--all").out
    assert re.search(r"^n1 +r1 +web@1 +none", listed, re.MULTILINE)
    assert cli("drift", "--rack", "r2").err == "No drift. 0 nodes report, 1 never did.\n"
    assert cli("drift", "n2").err == "n2 has never reported.\n"
    assert "there is no node n9" in cli("drift", "n9", code=1).err


def test_what_was_altered(cli: Cli, client: Namespace, boot: str) -> None:
    beat(client, boot, DRIFT, DIGEST)
    listed = cli("drift", "--rack", "r1", code=2).out
    assert re.search(r"^n1 +r1 +web@1 +altered +5 paths have been altered", listed, re.MULTILINE)
    shown = cli("drift", "n1", code=2)
    assert re.search(
        r"^changed +/etc/ssh/sshd_config +file +0644 +root:root +3.3 kB", shown.out, re.M
    )
    assert "tmpfs \\x1b[31m" in shown.out
    assert "3 more are not listed." in shown.err
    assert re.search(r"altered +/etc/ssh/sshd_config, /usr/bin", shown.out)
    found = cli.json("drift", "n1", code=2)
    assert (found["states"], found["altered"], len(found["entries"])) == (["altered"], 5, 2)
    assert cli.json("drift", code=2)["nodes"][0]["node"] == "n1"


def test_a_restart_keeps_what_is_known(
    cli: Cli, client: Namespace, boot: str, server: object
) -> None:
    before = cli.json("drift", "n1", code=2)
    server.restart()  # type: ignore[attr-defined]
    after = cli.json("drift", "n1", code=2)
    assert after == before
    assert "send=drift" not in beat(client, boot, drift=DIGEST)
    server.kill()  # type: ignore[attr-defined]
    server.start()  # type: ignore[attr-defined]
    assert cli.json("drift", "n1", code=2)["entries"] == before["entries"]


def test_stale(cli: Cli) -> None:
    cli("pin", "site", "web@2", "-m", "second")
    states = cli.json("drift", "n1", code=2)
    assert states["states"] == ["stale", "altered"]
    assert "it runs web@1, and would boot web@2 now" in cli("drift", code=2).out
    cli("pin", "site", "web@1", "-m", "first again")


def test_no_text_is_shown_that_the_policy_keeps_back(cli: Cli) -> None:
    said = cli("drift", "n1", "--diff", "/etc/ssh/sshd_config", code=1).err
    assert "the policy does not let nodes send /etc/ssh/sshd_config" in said
    assert "drift_diff_paths" in said
    assert "may hold a secret" in cli("drift", "n1", "--diff", "/etc/shadow", code=1).err
    assert "it needs a NODE" in cli("drift", "--diff", "/etc/x", code=2).err
    assert "it goes without NODE" in cli("drift", "n1", "--rack", "r1", code=2).err


def test_a_changed_text_is_asked_for_and_shown(
    cli: Cli, client: Namespace, boot: str, server: object
) -> None:
    server.arguments += ["--drift-diff-paths", "/etc/ssh/*"]  # type: ignore[attr-defined]
    server.restart()  # type: ignore[attr-defined]
    path = f"/heartbeat/{boot}/file?path=/etc/ssh/sshd_config&lower=4&upper=5"

    def answer() -> None:
        deadline = time.monotonic() + 60
        while "file=/etc/ssh/sshd_config" not in beat(client, boot, drift=DIGEST):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert post(client, path.replace("upper=5", "upper=6"), b"a\nb\na\nc\x1b\n").status == 400
        assert post(client, path, b"a\nb\na\nc\x1b\n").status == 202

    node = threading.Thread(target=answer)
    node.start()
    shown = cli("drift", "n1", "--diff", "/etc/ssh/sshd_config")
    node.join()
    assert shown.out.endswith("@@ -1,2 +1,2 @@\n a\n-b\n+c\\x1b\n")
    missing = cli("drift", "n1", "--diff", "/etc/ssh/other", code=1).err
    assert "/etc/ssh/other is not among what was altered on n1" in missing


def test_nodes_are_offered(cli: Cli) -> None:
    assert completed("bootserve drift n", cli.state_dir) == ["n1", "n2"]

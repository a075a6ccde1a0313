"""Nodes that are heard no more, and how often nodes are to be heard, against a real server."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from vm_harness.lab import Lab
from vm_harness.net import Namespace
from vm_harness.server import BootServer

from tests.cli.runner import Cli
from tests.support.api import Admin
from tests.support.curl import curl

MAC = "02:00:00:44:00:52"
SEAL = "5" * 64


class Site:
    """A server, and the node n1 on its network."""

    def __init__(self, lab: Lab, arguments: Sequence[str]) -> None:
        self.server: BootServer = lab.bootserve(arguments=arguments).start()
        self.cli = Cli(self.server.state_dir)
        self.client: Namespace = lab.client("client")
        self.client.ip("link", "set", "eth1", "address", MAC)
        Admin(self.server.state_dir).bring_in(MAC)
        self.boot = self.root = ""

    def say(self, path: str) -> str:
        """Send what the node says of itself; return the answer."""
        said = f"generation=web@1&root={self.root}&uptime=9&baseline={SEAL}"
        token = ["-H", f"Authorization: Bearer {'a' * 64}"]
        sep = "&" if "?" in path else "?"
        answer = curl(self.client, f"{path}{sep}{said}", *token, "--data-binary", "")
        assert answer.status in (200, 202), answer.text
        return answer.text

    def come_up(self) -> None:
        script = curl(self.client, f"/boot/{MAC}.ipxe").text
        found = dict(re.findall(r"bootserve\.(boot|root)=(\S+)", script))
        self.boot, self.root = found["boot"], found["root"]
        self.say(f"/report/{self.boot}?phase=up")

    def beat(self) -> str:
        return self.say(f"/heartbeat/{self.boot}")


def until(check: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 60
    while not (found := check()):
        assert time.monotonic() < deadline, "it does not come about"
        time.sleep(0.2)
    return found


@pytest.fixture
def make() -> Iterator[Callable[..., Site]]:
    """Makes a site in a lab of the test's own."""
    with Lab.create() as lab:
        yield lambda *arguments: Site(lab, arguments)


def test_a_node_that_is_heard_no_more_is_silent(make: Callable[..., Site]) -> None:
    site = make("--heartbeat-seconds", "1")
    admin = Admin(site.server.state_dir)
    site.come_up()
    assert "interval=1\n" in site.beat()
    until(lambda: admin.call("GET", "/nodes/n1/drift")["states"] == ["silent"])
    listed = site.cli("drift", code=2).out
    assert re.search(r"^n1 +.*silent +not heard from for \d+ s; due every 1 s", listed, re.M)
    assert site.cli.json("drift", "n1", code=2)["states"] == ["silent"]
    until(lambda: admin.call("GET", "/nodes/n1/drift")["history"])
    assert re.search(r"^.* silent", site.cli("drift", "n1", code=2).out, re.M)
    assert '"event": "silent"' in site.server.log_text()
    until(lambda: site.beat() and not admin.call("GET", "/nodes/n1/drift")["states"])
    site.server.kill()  # before any heartbeat was saved: its report and its seal tell of it
    site.server.start()
    until(lambda: admin.call("GET", "/nodes/n1/drift")["states"] == ["silent"])
    assert admin.call("GET", "/nodes/n1/drift")["running"]["boot"] == site.boot


def test_heartbeats_are_stretched_to_what_the_server_takes(make: Callable[..., Site]) -> None:
    site = make("--heartbeats-per-second", "0.01")
    site.come_up()
    assert "interval=100\n" in site.beat()

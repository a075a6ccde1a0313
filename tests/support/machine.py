"""A node played by curl: it fetches its script, reports up and sends heartbeats."""

from __future__ import annotations

import re

from vm_harness.net import Namespace

from tests.support.curl import Answer, curl

__all__ = ["Machine"]

TOKEN = "a" * 64


class Machine:
    """The machine with ``mac`` on ``eth1`` of ``namespace``."""

    def __init__(self, namespace: Namespace, mac: str) -> None:
        namespace.ip("link", "set", "eth1", "address", mac)
        self._namespace = namespace
        self.mac = mac
        self.boot = ""
        self.generation = ""
        self.root = ""

    def fetch_script(self) -> None:
        """Begin a boot."""
        script = curl(self._namespace, f"/boot/{self.mac}.ipxe").text
        found = dict(re.findall(r"bootserve\.(boot|generation|root)=(\S+)", script))
        assert set(found) == {"boot", "generation", "root"}, script
        self.boot, self.generation, self.root = (
            found[name] for name in ("boot", "generation", "root")
        )

    def report_up(self) -> None:
        """Report that it is up, with the root of its script."""
        said = f"phase=up&generation={self.generation}&root={self.root}"
        assert self._post(f"/report/{self.boot}?{said}").status == 202

    def come_up(self) -> None:
        """Boot, from script to up."""
        self.fetch_script()
        self.report_up()

    def beat(self) -> str:
        """Send a heartbeat and return what it is answered."""
        said = f"generation={self.generation}&root={self.root}&uptime=9.5"
        answer = self._post(f"/heartbeat/{self.boot}?{said}")
        assert answer.status == 200, answer.text
        return answer.text

    def _post(self, path: str) -> Answer:
        return curl(
            self._namespace,
            path,
            "--data-binary",
            "",
            "-H",
            f"Authorization: Bearer {TOKEN}",
        )

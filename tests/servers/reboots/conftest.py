"""A server with hooks that write down how they were called, and nodes played by curl."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from vm_harness.lab import Lab
from vm_harness.server import BootServer

from tests.support.api import Admin
from tests.support.machine import Machine

SCRIPT = """#!/bin/sh
# NAME: one line a call; then what the file NAME of the folder says, if there is one
echo "$1 $BOOTSERVE_WHEN $BOOTSERVE_NODE $BOOTSERVE_ATTEMPT $BOOTSERVE_REBOOTED $BOOTSERVE_TEST" \\
  >>FOLDER/calls
echo "$1 at $BOOTSERVE_NODE"
[ ! -e "FOLDER/$1" ] || . "FOLDER/$1"
"""


class Site:
    """The server, what its hooks noted, and its nodes n1, n2, … with machines."""

    def __init__(self, lab: Lab, folder: Path, extra: str = "") -> None:
        self.lab = lab
        self.folder = folder
        self.script = folder / "hook"
        self.script.write_text(SCRIPT.replace("FOLDER", str(folder)))
        self.script.chmod(0o755)
        config = folder / "bootserve.toml"
        config.write_text(self._settings() + extra)
        self.config = config
        self.server: BootServer = lab.bootserve(arguments=["--config", str(config)]).start()
        self.admin = Admin(self.server.state_dir)
        self.admin.publish("web", "1")
        self.admin.call("PUT", "/roles/compute", image="web")
        self.admin.call("PUT", "/pins", scope="site", generation="web@1")
        self.count = 0

    def _settings(self) -> str:
        lines = ["agent_minutes = 1"]
        for name, when, more in [
            ("cordon", "before", ""),
            ("drain", "before", "retries = 1\npause = 0.1\nracks = ['r1']"),
            ("aside", "before", "racks = ['r2']\nretries = 0\non_failure = 'skip'"),
            ("noted", "before", "racks = ['r3']\nretries = 0\non_failure = 'ignore'"),
            ("press", "reboot", ""),
            ("uncordon", "after", ""),
        ]:
            run = json.dumps([str(self.script), name])
            lines.append(f"[[hooks]]\nname = '{name}'\nwhen = '{when}'\nrun = {run}\n{more}")
        return "\n".join(lines) + "\n"

    def node(self, rack: str = "r1", **fields: Any) -> tuple[str, Machine]:
        """Return a new node of ``rack`` and its machine."""
        self.count += 1
        name, mac = f"n{self.count}", f"02:00:00:55:00:{self.count:02x}"
        client = self.lab.client(f"m{self.count}", f"10.44.0.{60 + self.count}")
        fields = {"macs": [mac], "role": "compute", "rack": rack, **fields}
        self.admin.call("POST", "/nodes", name=name, **fields)
        return name, Machine(client, mac)

    def says(self, hook: str, text: str) -> None:
        """Have ``hook`` do ``text`` (sh) from now on."""
        (self.folder / hook).write_text(text + "\n")

    def calls(self, node: str) -> list[str]:
        """Return what the hooks were called with for ``node``: name, when, attempt, rebooted."""
        path = self.folder / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        words = [line.split() for line in lines]
        return [" ".join([w[0], w[1], *w[3:5]]) for w in words if w[2] == node]

    def called(self, node: str, times: int) -> None:
        """Wait until hooks were called so often for ``node``."""
        deadline = time.monotonic() + 120
        while len(self.calls(node)) < times:
            assert time.monotonic() < deadline, self.reboots(node)[:1]
            time.sleep(0.05)

    def reboots(self, node: str) -> list[dict[str, Any]]:
        """Return the reboots on record of ``node``, the newest first."""
        found: list[dict[str, Any]] = self.admin.call("GET", "/reboots?limit=500")["reboots"]
        return [one for one in found if one["node"] == node]

    def until(self, node: str, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait until the newest reboot of ``node`` is as ``wanted`` and return it."""
        deadline = time.monotonic() + 120
        while True:
            found = self.reboots(node)
            if found and wanted(found[0]):
                return found[0]
            assert time.monotonic() < deadline, found[:1]
            time.sleep(0.05)

    def ended(self, node: str) -> dict[str, Any]:
        """Wait for the end of the newest reboot of ``node`` and return it."""
        return self.until(node, lambda one: one["phase"] == "ended")


@pytest.fixture(scope="module")
def site(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(lab, tmp_path_factory.mktemp("site"))
    yield made
    made.server.stop()

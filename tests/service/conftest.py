"""A namespace with an interface to serve on, and servers in it, for one module."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from vm_harness.lab import Lab
from vm_harness.server import BootServer

MAC = "52:54:00:44:00:01"


class Servers:
    """Starts bootserve in the lab, each time with a state directory of the test's own."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self._lab = lab
        self.state_dir = folder / "state"

    def make(self, *arguments: str, state_dir: Path | None = None) -> BootServer:
        return self._lab.bootserve(state_dir=state_dir or self.state_dir, arguments=arguments)

    def start(self, *arguments: str) -> BootServer:
        return self.make(*arguments).start()


@pytest.fixture
def servers(lab: Lab, tmp_path: Path) -> Iterator[Servers]:
    before = len(lab.servers)
    yield Servers(lab, tmp_path)
    for server in lab.servers[before:]:
        server.stop()

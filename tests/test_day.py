"""README's "A day with bootserve", command by command, against a real server and played nodes."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from vm_harness.lab import Lab
from vm_harness.server import BootServer

from tests.support.api import Admin
from tests.support.day import Runner, read_section
from tests.support.machine import Machine

README = Path(__file__).parents[1] / "README.md"
TITLE = "A day with bootserve"
NODES = {"r1n01": 1, "r1n02": 2, "r2n01": 3, "r2n02": 4}
SAME_BOOT_SECONDS = 5.2
"""A script that is asked for again within 5 s is of the same boot."""


class Rack:
    """Nodes that are switched on: they boot, send heartbeats and reboot when they are asked to."""

    def __init__(self, lab: Lab) -> None:
        self._machines = {
            name: Machine(lab.client(name, f"10.44.0.{100 + place}"), f"3c:ec:ef:00:00:0{place}")
            for name, place in NODES.items()
        }
        self._up: set[str] = set()
        self._off = threading.Event()
        self._thread = threading.Thread(target=self._live)
        self.trouble: list[BaseException] = []

    def switch_on(self) -> None:
        """Start them, and return once all are up."""
        self._thread.start()
        deadline = time.monotonic() + 120
        while len(self._up) < len(self._machines):
            assert time.monotonic() < deadline, self.trouble
            time.sleep(0.1)

    def switch_off(self) -> None:
        self._off.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _live(self) -> None:
        booted = dict.fromkeys(self._machines, 0.0)
        wanted = set(self._machines)
        try:
            while not self._off.wait(0.2):
                for name, machine in self._machines.items():
                    if name in wanted and time.monotonic() - booted[name] > SAME_BOOT_SECONDS:
                        machine.come_up()
                        self._up.add(name)
                        booted[name] = time.monotonic()
                        wanted.discard(name)
                    elif booted[name] and "reboot=" in machine.beat():
                        wanted.add(name)
        except BaseException as error:
            self.trouble.append(error)
            raise


@pytest.fixture
def server(lab: Lab) -> BootServer:
    """A server whose images have been built; heartbeats come at any pace."""
    made = lab.bootserve().start()
    admin = Admin(made.state_dir)
    for kernel in ("6.1.137-1", "6.1.140-1"):
        packages = {"linux-image": kernel, "kubelet": "1.31.4-1"}
        admin.publish("k8s-node", kernel, packages=packages)
    return made


@pytest.fixture
def rack(lab: Lab, server: BootServer) -> Iterator[Rack]:
    made = Rack(lab)
    yield made
    made.switch_off()


def test_the_day(
    server: BootServer, rack: Rack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, commands = read_section(README.read_text(), TITLE)
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BOOTSERVE_STATE_DIR", str(server.state_dir))
    runner = Runner()
    assert len(commands) > 12
    for command in commands:
        printed = runner.run(command)
        assert re.fullmatch(command.pattern(), printed), f"$ {command.text}\n{printed}"
        assert not rack.trouble
        if command.text.startswith("bootserve apply"):
            rack.switch_on()

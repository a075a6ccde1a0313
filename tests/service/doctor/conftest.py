"""A state that a real server left, a namespace to look from, and a doctor to look with."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from vm_harness.lab import Lab
from vm_harness.net import Namespace
from vm_harness.server import BootServer

from bootserve.model.finding import Finding, Level
from bootserve.service.doctor.run import examine
from bootserve.settings import Settings
from tests.support.api import Admin
from tests.support.netns import inside

MAC = "52:54:00:44:08:01"
NBP = Path("/usr/lib/ipxe/snponly.efi")
ROOT = b"hsqs" + bytes(300_000)


class Doctor:
    """Looks from a namespace at a state directory, and finds findings."""

    def __init__(self, namespace: Namespace, state_dir: Path) -> None:
        self.namespace = namespace
        self.state_dir = state_dir

    def examine(
        self,
        clock: Callable[[], float] = time.time,
        *,
        state_dir: Path | None = None,
        full: bool = False,
        **settings: Any,
    ) -> list[Finding]:
        values = {"interface": "eth1", "state_dir": state_dir or self.state_dir, **settings}
        with inside(self.namespace.name):
            return examine(Settings(**values), lambda _: None, full=full, clock=clock)

    def finds(self, subject: str, words: str, level: Level = Level.ERROR, **how: Any) -> Finding:
        """Return the one finding on ``subject`` that says ``words``; it must be of ``level``."""
        findings = self.examine(**how)
        fitting = [one for one in findings if one.subject == subject and words in one.found]
        shown = "\n".join(f"{one.level} {one.subject}: {one.found}" for one in findings)
        assert len(fitting) == 1, shown
        assert fitting[0].level is level, shown
        assert bool(fitting[0].action) == (level is not Level.OK)
        return fitting[0]


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """One lab for all of these tests: what they do to it they undo."""
    with Lab.create() as made:
        yield made


@pytest.fixture(scope="session")
def left(lab: Lab) -> Path:
    """The state directory of a server that has been stopped; nobody may write to it."""
    server = lab.bootserve().start()
    admin = Admin(server.state_dir)
    admin.publish("web", "1", ROOT)
    admin.publish("web", "2")
    admin.call("PUT", "/roles/compute", image="web")
    admin.call("POST", "/nodes", name="n1", macs=[MAC], role="compute")
    admin.call("PUT", "/pins", scope="site", generation="web@1")
    nbp = admin.upload(NBP.read_bytes())
    admin.call("POST", "/nbps", name="snp.efi", arch="x64", digest=nbp.sha256)
    admin.call("PUT", "/nbp-pins", scope="site", nbp="snp.efi")
    server.stop()
    return server.state_dir


@pytest.fixture
def doctor(lab: Lab, left: Path, tmp_path: Path) -> Doctor:
    """A doctor for a copy of that state, where no server runs."""
    copy = tmp_path / "state"
    shutil.copytree(left, copy, ignore=shutil.ignore_patterns("*.sock"))
    return Doctor(lab.network.server, copy)


@pytest.fixture
def serving(lab: Lab, left: Path, tmp_path: Path) -> Iterator[tuple[Doctor, BootServer]]:
    """The same with a server that runs."""
    copy = tmp_path / "served"
    shutil.copytree(left, copy, ignore=shutil.ignore_patterns("*.sock"))
    server = lab.bootserve(state_dir=copy).start()
    yield Doctor(lab.network.server, copy), server
    server.stop()

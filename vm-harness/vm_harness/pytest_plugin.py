"""Fixtures: ``lab``, a lab for the tests of one module, and ``vm``, which makes its VMs.

When a test that uses them fails, its report ends with the consoles of its VMs and the logs of
bootserve and of the DHCP server.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from vm_harness.console import Cleaner
from vm_harness.lab import Lab
from vm_harness.vm import Vm

__all__ = ["VmFactory", "lab", "vm"]

_LINES = 200
_LOG_LINES = 80


class VmFactory(Protocol):
    """What the fixture ``vm`` gives: ``Lab.vm()``, for VMs that end with the test."""

    def __call__(self, name: str, **parts: Any) -> Vm:
        """Return a new VM, off; the arguments are those of ``Lab.vm()``."""
        ...


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A lab with its DHCP server; ``lab.bootserve()`` adds the server. It goes down at the end."""
    with Lab.create() as made:
        yield made


@pytest.fixture
def vm(lab: Lab) -> Iterator[VmFactory]:
    """Makes VMs of the module's lab; all are gone, with their files, after the test."""
    made: list[Vm] = []

    def make(name: str, **parts: Any) -> Vm:
        made.append(lab.vm(name, **parts))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Attach what the lab said to the report of a failed test, before the fixtures end."""
    report = yield
    if report.failed:
        for used in getattr(item, "funcargs", {}).values():
            if isinstance(used, Lab):
                report.sections.extend(_logs(used))
    return report


def _logs(used: Lab) -> Iterator[tuple[str, str]]:
    for one in used.vms:
        if one.console_log.exists():
            yield f"console of {one.name} (last {_LINES} lines)", _tail(one.console_log, _LINES)
    for server in used.servers:
        yield f"log of {server.log.stem}", _tail(server.log, _LOG_LINES)
    for dhcp in used.dhcp_servers:
        yield f"log of the DHCP server {dhcp.log.stem}", _tail(dhcp.log, _LOG_LINES)
    if used.relay:
        yield "log of the DHCP relay", _tail(used.relay.log, _LOG_LINES)


def _tail(path: Path, lines: int) -> str:
    if not path.exists():
        return ""

    return "\n".join(Cleaner().feed(path.read_bytes()).splitlines()[-lines:])

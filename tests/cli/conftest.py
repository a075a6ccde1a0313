"""A bootserve in a lab of its own for each module that asks for one."""

from __future__ import annotations

import pytest
from vm_harness.lab import Lab
from vm_harness.net import Namespace
from vm_harness.server import BootServer

from tests.cli.runner import Cli
from tests.support.api import Admin


@pytest.fixture(scope="module")
def server(lab: Lab) -> BootServer:
    return lab.bootserve(arguments=["--unknown", "register"]).start()


@pytest.fixture(scope="module")
def admin(server: BootServer) -> Admin:
    return Admin(server.state_dir)


@pytest.fixture(scope="module")
def cli(server: BootServer) -> Cli:
    return Cli(server.state_dir)


@pytest.fixture(scope="module")
def client(lab: Lab) -> Namespace:
    return lab.client("client")

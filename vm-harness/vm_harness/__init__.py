"""A QEMU lab that boots virtual machines through a network boot service."""

from __future__ import annotations

from vm_harness.accel import Accelerator
from vm_harness.errors import BootFailed, ExpectError, HarnessError
from vm_harness.lab import Lab, mac_for
from vm_harness.server import BootServer
from vm_harness.vm import Vm

__all__ = [
    "Accelerator",
    "BootFailed",
    "BootServer",
    "ExpectError",
    "HarnessError",
    "Lab",
    "Vm",
    "mac_for",
]

"""How long to wait for what: about three times what was measured on two cores under TCG."""

from __future__ import annotations

from vm_harness.machine import Firmware

__all__ = ["ROOT", "SCRIPT", "UP", "script_timeout"]

SCRIPT = {
    "bios": 15.0,
    "uefi": 40.0,
    "uefi-http": 40.0,
    "uefi-arm64": 40.0,
    "uefi-arm64-http": 40.0,
}
"""Seconds from power-on to the iPXE script (on arm64: to the NBP), by firmware."""
ROOT = 60.0
"""Seconds from power-on to the mounted root."""
UP = 180.0
"""Seconds from power-on to the end of the start of userspace (36 alone, 100 on a busy machine)."""


def script_timeout(firmware: Firmware, *, at_once: int = 1) -> float:
    """Return the seconds to wait for the script when ``at_once`` VMs start together."""
    return SCRIPT[firmware] * max(1.0, at_once / 2)

"""dnsmasq as the DHCP server that was there before, as an admin may have set it up."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from vm_harness.net import Namespace

from tests.support.dhcp import is_open

__all__ = ["dnsmasq"]

ADDRESSES = "--dhcp-range=10.44.0.100,10.44.0.199,255.255.255.0,1h"
PROXY = "--dhcp-range=10.44.0.0,proxy"


@contextlib.contextmanager
def dnsmasq(namespace: Namespace, *options: str, proxy: bool = False) -> Iterator[Path]:
    """Run it on ``eth1`` of ``namespace`` and yield its lease file; addresses or as a proxy."""
    leases = Path("/tmp") / f"{namespace.name}.leases"
    command = [
        *("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--pid-file="),
        *("--port=0", "--interface=eth1", "--bind-interfaces", "--no-ping", "--log-facility=-"),
        *("--dhcp-authoritative", f"--dhcp-leasefile={leases}", PROXY if proxy else ADDRESSES),
    ]
    process = subprocess.Popen(
        namespace.command([*command, *options]), stderr=subprocess.DEVNULL, text=True
    )
    try:
        deadline = time.monotonic() + 20
        while not is_open(namespace.name, 67):
            assert time.monotonic() < deadline
            assert process.poll() is None, f"dnsmasq refuses {options}"
            time.sleep(0.02)
        yield leases
    finally:
        process.terminate()
        process.wait(20)
        leases.unlink(missing_ok=True)

"""A link of the lab that loses, doubles, delays or filters frames, switched while all runs."""

from __future__ import annotations

import json
import select
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from types import TracebackType

from vm_harness.errors import HarnessError
from vm_harness.net import Namespace
from vm_harness.pump import Counts, Impairment
from vm_harness.topology import INTERFACE

__all__ = ["Link", "fill_in_checksums"]

_SECONDS = 15.0


_NO_OFFLOAD = """
import array, fcntl, socket, struct, sys
value = array.array("I", [0x17, 0])  # ETHTOOL_STXCSUM off, which turns segmentation off too
request = struct.pack("16sP8x", sys.argv[1].encode(), value.buffer_info()[0])
fcntl.ioctl(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), 0x8946, request)  # SIOCETHTOOL
"""


def fill_in_checksums(namespace: Namespace, interface: str = INTERFACE) -> None:
    """Have ``interface`` of ``namespace`` send whole frames: no checksum left to a device."""
    namespace.run([sys.executable, "-c", _NO_OFFLOAD, interface])


class Link:
    """Put between an interface of the switch and the bridge; a context manager.

    ``interface`` is a port of the switch: a VM's tap (``vm.taps[0]``), or ``0-NAME`` for the
    namespace NAME on the first segment. What is behind it is the station. Frames pass unharmed
    until :meth:`set`. A station that leaves checksums to its device (Linux over
    virtio or veth) must be told to compute them: ``-global virtio-net-pci.csum=off``,
    or :func:`fill_in_checksums`.
    """

    def __init__(self, switch: Namespace, interface: str, *, log: Path) -> None:
        self._switch = switch
        self._interface = interface
        self._bridge = json.loads(switch.ip("-json", "link", "show", interface))[0]["master"]
        self._tap = f"l-{interface}"[:15]
        switch.ip("link", "set", interface, "nomaster")
        switch.ip("tuntap", "add", "dev", self._tap, "mode", "tap")
        switch.ip("link", "set", self._tap, "master", self._bridge, "up")
        module = [sys.executable, "-m", "vm_harness.pump", interface, self._tap]
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                switch.command(module),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )
        try:
            self._answer()
        except BaseException:
            self.close()
            raise

    def set(self, impairment: Impairment | None) -> Counts:
        """Treat frames so from now on; return what was done to them before."""
        assert self._process.stdin is not None
        said = asdict(impairment) if impairment else None
        try:
            self._process.stdin.write(json.dumps(said) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise HarnessError(f"the link of {self._interface} has ended") from None
        return Counts(**json.loads(self._answer()))

    def _answer(self) -> str:
        stream = self._process.stdout
        assert stream is not None
        line = stream.readline() if select.select([stream], [], [], _SECONDS)[0] else ""
        if not line:
            raise HarnessError(f"the link of {self._interface} does not answer")
        return line

    def close(self) -> None:
        """Take it away and join the interface to the bridge again."""
        self._process.kill()
        self._process.wait(10)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        if self._switch.exists:
            self._switch.ip("link", "del", self._tap)
            self._switch.ip("link", "set", self._interface, "master", self._bridge)

    def __enter__(self) -> Link:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

"""Runs the demo: ``python -m vm_harness.demo``. Exit code 0 only when everything held."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from vm_harness.demo.fleet import Fleet
from vm_harness.demo.images import build_both
from vm_harness.demo.proofs import Teller
from vm_harness.demo.story import Story
from vm_harness.errors import HarnessError
from vm_harness.lab import Lab
from vm_harness.server import default_command

__all__ = ["main"]

AFTERWARDS = """
To serve a real rack, on the machine beside its DHCP server:

  bootserve serve --interface eth1 --state-dir /var/lib/bootserve
  bootserve image build images/debian-base --import
  bootserve role set compute --image debian-base
  bootserve node add r1n01 --mac 3c:ec:ef:00:00:01 --rack r1 --role compute
  bootserve pin rack/r1 debian-base@1 -m "first generation"

and let the nodes boot from the network. README.md goes on from there.
"""


def main() -> int:
    """Run the demo and return its exit code."""
    teller = Teller()
    try:
        with tempfile.TemporaryDirectory(prefix="bootserve-demo-") as folder:
            teller.chapter("Two images are built")
            bundles = build_both(default_command(), Path(folder), teller.say)
            teller.prove(
                "two images are built, the second from the unpacked tree of the first",
                all((bundle / "manifest.json").exists() for bundle in bundles),
                f"{teller.seconds:.0f} s",
            )
            teller.chapter("The lab: a switch, a DHCP server that knows nothing of us, bootserve")
            with Lab.create() as lab:
                server = lab.bootserve().start()
                teller.say(f"bootserve: {server.url}, VMs by {lab.accelerator}")
                _tell(Story(Fleet(lab, server, teller), bundles), lab)
    except HarnessError as error:
        teller.prove("the demo runs to its end", False, str(error).splitlines()[0])
        print(error, file=sys.stderr)
    except KeyboardInterrupt:
        return 130
    teller.table()
    if teller.all_held:
        print(f"\nAll of it held, in {teller.seconds:.0f} s.")
        print(AFTERWARDS)
    return 0 if teller.all_held else 1


def _tell(story: Story, lab: Lab) -> None:
    try:
        story.tell()
    except HarnessError:
        for server in lab.servers:
            print(server.log_tail(30), file=sys.stderr)
        raise


if __name__ == "__main__":
    sys.exit(main())

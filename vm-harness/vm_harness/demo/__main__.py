"""Runs the demo: ``python -m vm_harness.demo``. Exit code 0 only when everything held."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from vm_harness.demo.fleet import Fleet
from vm_harness.demo.images import build_both
from vm_harness.demo.proofs import Teller
from vm_harness.demo.story import Story
from vm_harness.errors import HarnessError
from vm_harness.lab import Lab
from vm_harness.server import default_command

__all__ = ["main", "run"]

FIRST_SECONDS = 8 * 60.0
AGAIN_SECONDS = 5 * 60.0
"""How long the demo may take on two cores: the first time, and once its packages are unpacked."""

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
    return run(_demo, Teller())


def run(demo: Callable[[Teller], None], teller: Teller) -> int:
    """Have ``demo`` told by ``teller``, print the table and return the exit code.

    That is 0 when there are proofs and all of them held, 1 when not or for a HarnessError.
    """
    try:
        demo(teller)
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


def _demo(teller: Teller) -> None:
    with tempfile.TemporaryDirectory(prefix="bootserve-demo-") as folder:
        teller.chapter("Two images are built")
        first, second = build_both(default_command(), Path(folder), teller.say)
        teller.prove(
            "two images are built, the second from the unpacked tree of the first",
            all((one.bundle / "manifest.json").exists() for one in (first, second))
            and "bundle" in second.stages
            and not second.installed,
            f"{teller.seconds:.0f} s; the second installed {_packages(second.installed)}, "
            f"the first {_packages(first.installed)}",
        )
        teller.chapter("The lab: a switch, a DHCP server that knows nothing of us, bootserve")
        with Lab.create() as lab:
            server = lab.bootserve().start()
            teller.say(f"bootserve: {server.url}, VMs by {lab.accelerator}")
            _tell(Story(Fleet(lab, server, teller), (first.bundle, second.bundle)), lab)
    if first.installed:
        teller.note_time("the first time it takes under 8 minutes on two cores", FIRST_SECONDS)
    else:
        teller.note_time("with the images there, under 5 minutes on two cores", AGAIN_SECONDS)


def _packages(installed: bool) -> str:
    return "its packages" if installed else "none"


def _tell(story: Story, lab: Lab) -> None:
    try:
        story.tell()
    except HarnessError:
        for server in lab.servers:
            print(server.log_tail(30), file=sys.stderr)
        raise


if __name__ == "__main__":
    sys.exit(main())

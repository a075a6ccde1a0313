#!/usr/bin/python3
r"""Keep Ceph from moving data while a storage host reboots.

before  sets noout for this host alone (ceph osd set-group noout HOST) and asks whether its OSDs may
        stop without making data unavailable (ceph osd ok-to-stop), together with those of all that
        has noout: another host may be about to reboot. If not, it takes noout back and tries again.
after   waits until the host's OSDs are up again and takes noout back. If they do not come up it
        fails and leaves noout set: somebody has to look, and "ceph osd unset-group noout HOST" then
        starts the recovery.

Both may be run again at any time. With BOOTSERVE_TEST=1 they look and change nothing.

In bootserve's settings:

    [[hooks]]
    name = "noout"
    when = "before"
    roles = ["ceph-osd"]
    timeout = 900
    run = ["/usr/share/bootserve/hooks/ceph.py", "before", "--timeout", "850",
           "--", "--name", "client.bootserve", "--keyring", "/etc/bootserve/ceph.keyring"]

and the same with name = "noout-off", when = "after" and "after". What follows "--" is given to each
call of the ceph command. The key needs:

    ceph auth get-or-create client.bootserve mgr 'allow r' \
      mon 'allow r, allow command "osd set-group", allow command "osd unset-group"'

The host's name in the CRUSH map is bootserve's, or that of the node's label "ceph-host".
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import time
from typing import Any

CALL_SECONDS = 60


class Failure(Exception):
    """What went wrong, for whoever reads the hook's output."""


class Ceph:
    """The cluster, by its command line."""

    def __init__(self, program: str, options: list[str]) -> None:
        self._start = [program, *options]

    def run(self, *words: str) -> tuple[int, str, str]:
        """Run one command; return its exit code and what it said."""
        try:
            done = subprocess.run(
                [*self._start, *words, "--format", "json"],
                capture_output=True,
                text=True,
                stdin=subprocess.DEVNULL,
                timeout=CALL_SECONDS,
            )
        except FileNotFoundError:
            raise Failure(
                f"{self._start[0]} is not installed here: install ceph-common, or give --ceph"
            ) from None
        except subprocess.TimeoutExpired:
            raise Failure(
                f"ceph {' '.join(words)}: no answer in {CALL_SECONDS} s; are the monitors there?"
            ) from None
        return done.returncode, done.stdout, done.stderr.strip()

    def ask(self, *words: str) -> Any:
        """Return the JSON that a command prints; raises Failure."""
        code, out, said = self.run(*words)
        if code:
            raise Failure(f"ceph {' '.join(words)} failed with {code}: {said}")
        try:
            return json.loads(out.strip() or "null")
        except ValueError:
            raise Failure(f"ceph {' '.join(words)} printed no JSON: {out[:200]}") from None

    def osds(self, host: str) -> list[int]:
        """Return the OSDs of a host."""
        return [int(one) for one in self.ask("osd", "ls-tree", host)]

    def noout(self) -> set[str]:
        """Return the hosts, or whatever in the CRUSH map, that noout is set for."""
        flags = self.ask("osd", "dump").get("crush_node_flags", {})
        return {name for name, set_for in flags.items() if "noout" in set_for}

    def down(self, osds: list[int]) -> list[int]:
        """Return which of ``osds`` are not up."""
        dump = self.ask("osd", "dump")
        up = {int(one["osd"]) for one in dump["osds"] if one["up"]}
        return [osd for osd in osds if osd not in up]


def before(ceph: Ceph, host: str, options: argparse.Namespace, test: bool) -> None:
    """Set noout for the host once it may stop."""
    deadline = time.monotonic() + options.timeout
    osds = ceph.osds(host)
    if not osds:
        print(f"{host} has no OSDs")
        return
    ours = not test and host not in ceph.noout()
    while True:
        if not test:  # first, so that of two hosts one at least sees the other
            ceph.ask("osd", "set-group", "noout", host)
        others = sorted(ceph.noout() - {host})
        stopping = {*osds, *(osd for other in others for osd in ceph.osds(other))}
        code, _, said = ceph.run("osd", "ok-to-stop", *map(str, sorted(stopping)))
        if code == 0:
            break
        if ours:
            ceph.ask("osd", "unset-group", "noout", host)
        if test or time.monotonic() >= deadline:
            beside = f", beside those of {', '.join(others)}, which have noout" if others else ""
            raise Failure(f"the OSDs of {host} may not stop now{beside}: {said}")
        time.sleep(options.pause * random.uniform(0.5, 1.5))
    if test:
        print(f"test: the {len(osds)} OSDs of {host} may stop; noout would be set for it")
        return
    print(f"noout is set for {host}, which has {len(osds)} OSDs")


def after(ceph: Ceph, host: str, options: argparse.Namespace, test: bool) -> None:
    """Wait until the host's OSDs are up, and take noout back."""
    deadline = time.monotonic() + options.timeout
    osds = ceph.osds(host)
    while down := ceph.down(osds):
        if test or time.monotonic() >= deadline:
            names = ", ".join(f"osd.{osd}" for osd in down)
            raise Failure(
                f"{names} of {host} are down; noout stays set. When you have looked:"
                f" ceph osd unset-group noout {host}"
            )
        time.sleep(options.pause)
    if test:
        print(f"test: the {len(osds)} OSDs of {host} are up")
        return
    if osds:
        ceph.ask("osd", "unset-group", "noout", host)
    print(f"noout is no longer set for {host}; its {len(osds)} OSDs are up")


def _host(given: str) -> str:
    try:
        labels = json.loads(os.environ.get("BOOTSERVE_LABELS") or "{}")
    except ValueError:
        labels = {}
    host = given or labels.get("ceph-host") or os.environ.get("BOOTSERVE_NODE", "")
    if not host:
        raise Failure("which host? bootserve says it in BOOTSERVE_NODE; by hand give --host")
    return str(host)


def parse() -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(
        usage="%(prog)s before|after [OPTION …] [-- OPTION OF ceph …]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("action", choices=["before", "after"])
    parser.add_argument("--host", default="", help="its name in the CRUSH map")
    parser.add_argument("--ceph", default="ceph", metavar="PROGRAM", help="the ceph command")
    parser.add_argument("--timeout", type=float, default=240, help="seconds, of all (%(default)s)")
    parser.add_argument("--pause", type=float, default=5, help="between tries (%(default)s s)")
    given = sys.argv[1:]
    edge = given.index("--") if "--" in given else len(given)
    options = parser.parse_args(given[:edge])
    options.options = given[edge + 1 :]
    return options


def main() -> int:
    """Do what the command line says; return the exit code."""
    options = parse()
    test = os.environ.get("BOOTSERVE_TEST") == "1"
    action = before if options.action == "before" else after
    try:
        action(Ceph(options.ceph, options.options), _host(options.host), options, test)
    except Failure as error:
        print(f"{options.action}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

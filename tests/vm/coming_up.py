"""What is true of a node that came up as its site wants it, whichever image it runs."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass

from vm_harness.vm import Vm

from bootserve.build.bundle import Bundle
from tests.vm.conftest import Site

__all__ = ["Expected", "machine_ids"]

LOGGED = ["script", "kernel", "initrd", "initramfs", "root", "verified", "mounted", "up"]


def machine_ids(site: Site, *names: str) -> dict[str, str]:
    """Return the machine id that each node's script gives it, no two the same."""
    scripts = {name: site.admin.call("GET", f"/nodes/{name}/explain")["script"] for name in names}
    ids = {name: text.split("systemd.machine_id=")[1].split()[0] for name, text in scripts.items()}
    assert len(set(ids.values())) == len(names)
    return ids


@dataclass(frozen=True)
class Expected:
    """Who a node is to be at each of its boots, of ``bundle`` as demo@1."""

    site: Site
    bundle: Bundle
    machine_id: str
    argument: str

    def check(self, vm: Vm) -> None:
        """Check the newest boot of ``vm``: each phase told once, and the node is who it is."""
        boot = self.site.last_boot(vm.name)
        assert isinstance(boot["phases"], list)
        assert {one["phase"] for one in boot["phases"]} == {*LOGGED, "dhcp", "ipxe"}
        assert self._logged(boot["id"]) == Counter(LOGGED)
        root = self.bundle.manifest.artifacts["root"].sha256
        assert (boot["reported_generation"], boot["reported_root"]) == ("demo@1", root)
        assert vm.run("cat /etc/machine-id").strip() == self.machine_id
        assert vm.run("hostname").strip() == vm.name
        assert self.argument in vm.run("cat /proc/cmdline").split()
        # firmware, initramfs and system are one client of the DHCP server, at every boot
        assert len([one for one in self.site.lab.dhcp.leases() if one.mac == vm.mac]) == 1

    def _logged(self, boot: object) -> Counter[str]:
        """Return how many lines of the server's log are about each phase of ``boot``."""
        lines = [json.loads(line) for line in self.site.server.log_text().splitlines()]
        return Counter(line["event"] for line in lines if line.get("boot") == boot)

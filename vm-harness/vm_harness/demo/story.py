"""The demo, chapter by chapter. Each leaves proofs; none counts on luck or on timing."""

from __future__ import annotations

import json
import re
from pathlib import Path

from vm_harness.demo.fleet import UP_SECONDS, Fleet
from vm_harness.lab import mac_for
from vm_harness.relay import Rule

__all__ = ["Story"]

NODES = {"node1": "bios", "node2": "uefi", "node3": "bios"}
ROOT_MOUNT = "/run/bootserve/root"
IDENTITY = "cat /etc/machine-id /etc/hostname 2>/dev/null; hostname"
CHANGED = ("/etc/issue", "/usr/lib/os-release")
DELETED = ("/etc/debian_version", "/usr/bin/free")


class Story:
    """Tells the whole demo over ``fleet`` with two bundles, in the order of its methods."""

    def __init__(self, fleet: Fleet, bundles: tuple[Path, Path]) -> None:
        self.fleet = fleet
        self.bundles = bundles
        self.prove = fleet.teller.prove
        self.chapter = fleet.teller.chapter
        self.roots: dict[str, str] = {}

    def tell(self) -> None:
        """Tell every chapter."""
        self.import_and_pin()
        self.first_boots()
        self.stranger()
        self.drift_and_power_cycle()
        self.second_generation()
        self.node_pin_and_rollback()
        self.dhcp_server()

    def import_and_pin(self) -> None:
        """Two generations in the store, three nodes in one rack, two of them under its pin."""
        self.chapter("Two generations, three nodes of rack r1, pins")
        admin = self.fleet.admin
        for number, bundle in enumerate(self.bundles, 1):
            admin("image", "import", str(bundle))
            manifest = json.loads((bundle / "manifest.json").read_bytes())
            self.roots[f"demo@{number}"] = manifest["artifacts"]["root"]["sha256"]
        again = admin("image", "import", str(self.bundles[0]))
        admin("role", "set", "demo", "--image", "demo")
        for name in NODES:
            admin("node", "add", name, "--mac", mac_for(name), "--rack", "r1", "--role", "demo")
        admin("pin", "rack/r1", "demo@1", "-m", "first generation for the rack")
        admin("pin", "node/node3", "demo@1", "-m", "node3 stays where it is")
        self.prove(
            "importing a known digest finds the generation that has it",
            "demo@1" in again and "demo@3" not in again,
            again.strip().splitlines()[0],
        )

    def first_boots(self) -> None:
        """A BIOS and a UEFI node of one rack, booted at the same time."""
        self.chapter("A BIOS and a UEFI node boot")
        fleet = self.fleet
        fleet.power_on("node1", "bios")
        fleet.power_on("node2", "uefi")
        fleet.follow_all({"node1": "up", "node2": "up"})
        for name, firmware in (("node1", "BIOS"), ("node2", "UEFI")):
            boot = fleet.last_boot(name)
            self.prove(
                f"a {firmware} node boots its pinned generation",
                boot["reported_generation"] == "demo@1"
                and boot["reported_root"] == self.roots["demo@1"],
                f"up after {fleet.seconds[name]:.0f} s, reports root {boot['reported_root'][:12]}…",
            )

    def stranger(self) -> None:
        """A machine that is no node gets no answer from bootserve."""
        self.chapter("A machine that nobody knows")
        fleet = self.fleet
        fleet.vms["node2"].kill()
        vm = fleet.power_on("stranger", "bios")
        vm.expect(r"No more network devices|Nothing to boot|No bootable device|Boot Failed", 60)
        told, log = vm.console.text, fleet.server.log_text()
        known = fleet.server.json("node", "discovered")["machines"]
        mac = mac_for("stranger")
        leases = {lease.mac: lease.address for lease in fleet.lab.dhcp.leases()}
        self.prove(
            "an unknown machine is left alone",
            mac in leases
            and mac_for("node1") in log  # whom it did answer
            and mac not in log
            and not any(word in told for word in ("boot/", "bootserve"))
            and not known,
            f"{mac} got {leases.get(mac)} from the DHCP server, is nowhere in bootserve's log, "
            "found no boot file and went on",
        )
        vm.kill()

    def _hash_in_guest(self, name: str) -> str:
        shell = self.fleet.vms[name].run
        said = shell(f"sha256sum $(awk '$5==\"{ROOT_MOUNT}\"' /proc/self/mountinfo"
                     " | sed 's/.* - [^ ]* //' | cut -d' ' -f1)", timeout=120)  # fmt: skip
        found = re.search(r"\b[0-9a-f]{64}\b", said)
        return found[0] if found else said

    def _digests(self, name: str) -> dict[str, str]:
        """Return the sha256 of those of the files to change and to delete that are there."""
        files = " ".join(CHANGED + DELETED)
        said = self.fleet.vms[name].run(f"sha256sum {files} 2>/dev/null || true")
        return {path: digest for digest, path in re.findall(r"([0-9a-f]{64})  (/\S+)", said)}

    def drift_and_power_cycle(self) -> None:
        """Change a node, then take its power, the server and a byte on the wire away."""
        self.chapter("Changes made on a node at 2 a.m.")
        fleet = self.fleet
        run = fleet.vms["node1"].run
        found = self._hash_in_guest("node1")
        self.prove(
            "the guest's own hash of its root device equals the manifest's",
            found == self.roots["demo@1"],
            f"sha256 {found[:16]}… on both sides",
        )
        before, files = run(IDENTITY), self._digests("node1")
        run(f"for file in {' '.join(CHANGED)}; do echo changed >> $file; done")
        run(f"rm {' '.join(DELETED)}; echo drift > /etc/drift")
        changed = self._digests("node1")
        self.prove(
            "files in /etc and /usr can be changed and deleted on a running node",
            set(files) == {*CHANGED, *DELETED}
            and set(changed) == set(CHANGED)
            and all(changed[path] != files[path] for path in CHANGED),
            f"changed: {', '.join(CHANGED)}; deleted: {', '.join(DELETED)}",
        )
        self._killed_server_and_flipped_byte()
        after = run(IDENTITY)
        left = run("test -e /etc/drift && echo there || echo gone")
        self.prove(
            "after the power cycle the changes are gone",
            self._digests("node1") == files and left.split() == ["gone"],
            "those four files have the digests that they had; a new one, /etc/drift, is gone",
        )
        self.prove(
            "machine-id and hostname are the same at every boot",
            before == after and "node1" in after,
            f"machine-id {after.split()[0]}",
        )

    def _killed_server_and_flipped_byte(self) -> None:
        self.chapter("Power cycle; the server is killed with -9 while the root is being fetched")
        fleet, path = self.fleet, f"/artifacts/sha256/{self.roots['demo@1']}"
        wire = fleet.lab.corrupt_http(path, offset=20 << 20, damage="stall", times=1)
        fleet.power_on("node1", "bios")
        wire.wait_damage(timeout=UP_SECONDS)
        boots_before = len(fleet.server.json("boots", "node1")["boots"])
        fleet.server.kill()
        fleet.teller.say("bootserve: killed with SIGKILL, 20 MiB into the root")
        wire.off()
        fleet.server.start()
        fleet.teller.say("bootserve: started again")
        fleet.follow("node1", until="mounted")
        boots = fleet.server.json("boots", "node1")["boots"]
        resumed = re.search(r"with the root at byte (\d+)", fleet.vms["node1"].console.text)
        self.prove(
            "a boot survives kill -9 of the server in the middle of its root",
            len(boots) == boots_before and resumed is not None,
            f"the same boot went on at byte {resumed[1]}" if resumed else "it began again",
        )
        self.chapter("A byte is flipped on the wire while node2 boots")
        wire.set(Rule(path, "flip", 30 << 20, times=1))
        fleet.power_on("node2", "uefi")
        fleet.follow_all({"node1": "up", "node2": "verified"})
        wire.off()
        refused = re.search(
            r"attempt \d of \d failed: the root has digest ([0-9a-f]{12})",
            fleet.vms["node2"].console.text,
        )
        self.prove(
            "a node refuses a root with one flipped byte and fetches it again",
            refused is not None and len(wire.damaged) == 2,
            f"it said that the root has digest {refused[1]}…" if refused else "it did not",
        )

    def second_generation(self) -> None:
        """The rack's pin moves; its nodes follow at their next boot and not before."""
        self.chapter("demo@2 is pinned to the rack")
        fleet = self.fleet
        fleet.admin("pin", "rack/r1", "demo@2", "-m", "second generation for the rack")
        still = fleet.vms["node1"].run("cat /etc/demo-generation").strip()
        fleet.power_on("node1", "bios")
        fleet.power_on("node2", "uefi")
        fleet.follow_all({"node1": "up", "node2": "mounted"})
        runs = [fleet.runs("node1"), fleet.mounted("node2")]
        now = fleet.vms["node1"].run("cat /etc/demo-generation").strip()
        self.prove(
            "a pin moves both nodes of the rack at their next boot, and not before",
            (still, now, runs) == ("1", "2", ["demo@2", "demo@2"]),
            f"running before: {still}, after the power cycle: {now}; they report {', '.join(runs)}",
        )
        fleet.vms["node2"].kill()

    def node_pin_and_rollback(self) -> None:
        """A node pin beats the rack's; a rollback is a revision whose pins equal an old one's."""
        self.chapter("node3 has a pin of its own; the rack is rolled back")
        fleet = self.fleet
        revisions = fleet.server.json("revisions")["revisions"]
        first = next(r["number"] for r in revisions if r["message"].startswith("node3 stays"))
        fleet.power_on("node3", "bios")
        fleet.follow("node3", until="script")
        fleet.admin("rollback", str(first), "-m", "demo@2 was a mistake")
        fleet.power_on("node1", "bios")
        fleet.follow_all({"node1": "mounted", "node3": "mounted"})
        explained = fleet.server.json("explain", "node3")
        self.prove(
            "a node pin beats its rack's",
            fleet.mounted("node3") == "demo@1" and explained["pin"].startswith("node/node3"),
            f"explain: {explained['pin']}; lost: {explained['lost'][0]['scope']}",
        )
        pins = {pin["scope"]: pin["generation"] for pin in fleet.server.json("pins")["pins"]}
        self.prove(
            "a rollback brings the rack back to the pins of the old revision",
            fleet.mounted("node1") == "demo@1" and pins["rack/r1"] == "demo@1",
            f"revision {fleet.server.json('status')['revision']['number']} has the pins of {first}",
        )

    def dhcp_server(self) -> None:
        """The DHCP server that was there before gave addresses, one to each MAC, and no more."""
        self.chapter("The datacenter's own DHCP server")
        leases = self.fleet.lab.dhcp.leases()
        options = sorted(self.fleet.lab.dhcp.options_sent())
        self.prove(
            "the DHCP server gave addresses and nothing else",
            self.fleet.lab.dhcp.gave_only_addresses(),
            f"its log shows options {', '.join(map(str, options))} and no boot file",
        )
        macs = [lease.mac for lease in leases]
        self.prove(
            "firmware, iPXE, initramfs and system of a node keep one lease",
            len(macs) == len(set(macs)) and len({lease.address for lease in leases}) == len(macs),
            f"{len(leases)} machines, {len(leases)} leases",
        )

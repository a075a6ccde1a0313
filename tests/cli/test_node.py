"""Commands on nodes, roles and racks, against a real server."""

from __future__ import annotations

import pytest
from vm_harness.net import Namespace

from tests.cli.runner import Cli
from tests.support.curl import curl

MAC = "52:54:00:0a:00:0"


@pytest.fixture(scope="module", autouse=True)
def role(cli: Cli) -> None:
    said = cli("role", "set", "compute", "--image", "web", "--kernel-args", "iommu=on").out
    assert said == "Role compute is set; revision 1.\n"


def test_a_node_from_beginning_to_end(cli: Cli) -> None:
    added = cli(
        *("node", "add", "n1", "--mac", "5254000A0001", "--mac", "52-54-00-0a-00-02"),
        *("--rack", "r1", "--role", "compute", "--kernel-args", "console=ttyS1", "--nbp", "x.efi"),
        *("--label", "row=b", "--label", "note=a=b", "-m", "the first"),
    )
    assert added.out.startswith("Node n1 is added; revision ")
    newest = cli.json("revisions", "--limit", "1")["revisions"][0]
    assert newest["message"] == "the first"
    node = cli.json("node", "show", "n1")
    assert node["macs"] == [MAC + "1", MAC + "2"]
    assert node["labels"] == {"row": "b", "note": "a=b"}
    shown = cli("node", "show", "n1").out
    assert f"MAC               {MAC}1\n                  {MAC}2\n" in shown
    assert "Next boot         hold: no pin for image web applies to it\n" in shown
    assert "Offer shape" not in shown
    cli("node", "set", "n1", "--boot", "local", "--image", "db", "--mac", MAC + "3")
    node = cli.json("node", "show", "n1")
    assert (node["boot"], node["image"], node["macs"]) == ("local", "db", [MAC + "3"])
    assert (node["rack"], node["nbp"], node["kernel_args"]) == ("r1", "x.efi", "console=ttyS1")
    cli("node", "set", "n1", "--image", "", "--label", "", "--nbp", "", "--kernel-args", "")
    node = cli.json("node", "show", "n1")
    assert (node["image"], node["labels"], node["nbp"], node["kernel_args"]) == ("", {}, "", "")
    assert node["shape"] == "auto"
    cli("node", "set", "n1", "--shape", "binl")
    assert cli.json("node", "show", "n1")["shape"] == "binl"
    assert "Offer shape   binl\n" in cli("node", "show", "n1").out
    assert "'oval'" in cli("node", "set", "n1", "--shape", "oval", code=2).err
    assert node["boot"] == "local"
    assert cli("node", "rm", "n1", "-m", "sold").out.startswith("Node n1 is removed; revision ")
    missing = cli("node", "show", "n1", code=1)
    assert missing.err == "bootserve: there is no node n1\nSee 'bootserve node list'.\n"


def test_the_list_is_filtered_and_empty_lists_say_what_to_do(cli: Cli) -> None:
    assert cli("node", "list").out == ""
    assert "bootserve node add" in cli("node", "list").err
    cli("node", "add", "a1", "--mac", "52:54:00:0b:00:01", "--rack", "ra", "--role", "compute")
    cli("node", "add", "a2", "--mac", "52:54:00:0b:00:02", "--rack", "ra", "--arch", "arm64")
    cli("node", "add", "b1", "--mac", "52:54:00:0b:00:03", "--rack", "rb", "--role", "compute")
    assert cli("node", "list").out == (
        "NODE  RACK  ROLE     ARCH   NEXT BOOT  MAC\n"
        "a1    ra    compute  amd64  hold       52:54:00:0b:00:01\n"
        "a2    ra             arm64  hold       52:54:00:0b:00:02\n"
        "b1    rb    compute  amd64  hold       52:54:00:0b:00:03\n"
    )

    def names(*words: str) -> list[str]:
        return [one["name"] for one in cli.json("node", "list", *words)["nodes"]]

    assert names() == ["a1", "a2", "b1"]
    assert names("--rack", "ra") == ["a1", "a2"]
    assert names("--rack", "ra", "--role", "compute") == ["a1"]
    assert names("--role", "") == ["a2"]
    assert names("--rack", "nowhere") == []


def test_refusals_come_through(cli: Cli) -> None:
    cli("node", "add", "c1", "--mac", "52:54:00:0c:00:01")
    again = cli("node", "add", "c1", "--mac", "52:54:00:0c:00:02", code=1)
    assert again.err == (
        "bootserve: there is already a node c1\nChange it with 'bootserve node set'.\n"
    )
    assert "belongs to node c1" in cli("node", "add", "c2", "--mac", "5254000c0001", code=1).err
    assert "is not a MAC address" in cli("node", "add", "c2", "--mac", "zz", code=1).err
    assert (
        "not a usable node name" in cli("node", "add", "C 2", "--mac", "5254000c0002", code=1).err
    )
    assert cli("node", "set", "c1", "--mac", "ff:ff:ff:ff:ff:ff", code=1).out == ""
    long = cli("node", "set", "c1", "--boot", "local", "-m", "x" * 1001, code=1)
    assert "at most 1000 characters" in long.err


def test_a_machine_that_asked_is_adopted_or_forgotten(cli: Cli, client: Namespace) -> None:
    assert "--unknown register" in cli("node", "discovered").err
    told = "?uuid=8a&serial=%1b%5b2J-7&manufacturer=%5bred%5dDell&product=R640"
    for last in (1, 2):
        assert curl(client, f"/boot/52-54-00-0d-00-0{last}.ipxe{told}").status == 200
    machines = cli.json("node", "discovered")["machines"]
    assert {one["mac"] for one in machines} == {"52:54:00:0d:00:01", "52:54:00:0d:00:02"}
    assert "[red]Dell" in cli("node", "discovered").out
    said = cli("node", "adopt", "5254.000d.0001", "d1", "--rack", "r9", "--role", "compute").out
    assert said.startswith("52:54:00:0d:00:01 is node d1; revision ")
    assert cli.json("node", "show", "d1")["rack"] == "r9"
    assert cli("node", "forget", "52:54:00:0D:00:02").out == "52:54:00:0d:00:02 is forgotten.\n"
    assert cli.json("node", "discovered")["machines"] == []
    assert "was discovered" in cli("node", "forget", "52:54:00:0d:00:02", code=1).err
    assert "was discovered" in cli("node", "adopt", "52:54:00:0d:00:02", "d2", code=1).err


def test_roles(cli: Cli) -> None:
    cli("role", "set", "osd", "--image", "ceph", "-m", "storage")
    cli("role", "set", "osd", "--kernel-args", "hugepages=8")
    assert {"name": "osd", "image": "ceph", "kernel_args": "hugepages=8", "nodes": 0} in (
        cli.json("role", "list")["roles"]
    )
    assert "osd      ceph       0  hugepages=8\n" in cli("role", "list").out
    assert cli("role", "rm", "osd").out.startswith("Role osd is removed; revision ")
    assert "there is no role osd" in cli("role", "rm", "osd", code=1).err
    assert "name the image" in cli("role", "set", "new", "--kernel-args", "x", code=1).err


def test_racks(cli: Cli) -> None:
    said = cli("rack", "set", "r7", "--kernel-args", "console=ttyS1,115200").out
    assert said.startswith("Rack r7 is set; revision ")
    assert {"name": "r7", "kernel_args": "console=ttyS1,115200", "nodes": 0} in (
        cli.json("rack", "list")["racks"]
    )
    assert "console=ttyS1,115200" in cli("rack", "list").out
    assert "must not hold" in cli("rack", "set", "r7", "--kernel-args", "a || b", code=1).err

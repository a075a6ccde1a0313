"""would-change and image diff, against a real server and a node that boots."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from vm_harness.net import Namespace

from bootserve.model.filelist import HEADER
from bootserve.model.generation import Manifest
from bootserve.model.names import Arch
from tests.cli.runner import Cli
from tests.support.api import Admin
from tests.support.machine import Machine

MAC = "02:00:00:44:00:61"
WHY = ("-m", "a test")


def line(name: str, text: str) -> str:
    return f"f 0644 0 0 {len(text)} {hashlib.sha256(text.encode()).hexdigest()} {name}\n"


def publish(admin: Admin, text: str, files: str = "", **fields: Any) -> str:
    contents = {name: f"{name} {text}".encode() for name in ("kernel", "initrd", "root")}
    if files:
        contents["files"] = f"{HEADER}\n{files}".encode()
    artifacts = {name: admin.upload(data) for name, data in contents.items()}
    made = Manifest(image="web", arch=Arch.AMD64, artifacts=artifacts, **fields)
    return str(admin.register(made)["generation"]["name"])


@pytest.fixture(scope="module", autouse=True)
def generations(cli: Cli, admin: Admin) -> None:
    old = {"libc6": "2.36-9", "gone": "1", "vim": "9"}
    new = {"libc6": "2.36-10", "curl": "7", "vim": "9"}
    one = line("etc/a", "1") + line("etc/b", "1") + line("etc/c", "1")
    two = line("etc/b", "2") + line("etc/c", "1") + line("etc/d", "1")
    publish(admin, "1", one, packages=old, cmdline="quiet", kernel_release="6.1.0-1")
    publish(admin, "2", two, packages=new, cmdline="debug", kernel_release="6.1.0-2")
    publish(admin, "3", packages=new)
    cli("role", "set", "compute", "--image", "web")
    for name, mac in (("n1", MAC), ("n2", "02:00:00:44:00:62")):
        cli("node", "add", name, "--mac", mac, "--rack", "r1", "--role", "compute")
    cli("pin", "site", "web@1", *WHY)


DIFF = """\
Cmdline         quiet → debug
Kernel release  6.1.0-1 → 6.1.0-2
Artifacts that differ  kernel, initrd, root
upgraded libc6 2.36-9 2.36-10
added curl 7
removed gone 1
added /etc/d
removed /etc/a
changed /etc/b content
"""


def test_image_diff(cli: Cli) -> None:
    told = cli("image", "diff", "web@1", "web@2").out
    lines = {" ".join(one.split()) for one in told.splitlines()}
    assert lines >= {" ".join(one.split()) for one in DIFF.splitlines()}
    assert not any("vim" in one or "/etc/c" in one for one in lines)
    found = cli.json("image", "diff", "web@1", "web@2")
    assert found["fields"]["cmdline"] == ["quiet", "debug"]
    assert [one["kind"] for one in found["packages"]] == ["added", "removed", "upgraded"]
    assert found["files"]["changed"] == [["/etc/b", "content"]]
    short = cli("image", "diff", "web@1", "web@2", "-n", "0").out
    assert "… and 3 more; --limit shows them" in short
    same = cli("image", "diff", "web@1", "web@1")
    assert same.out == "web@1 and web@1 have the same packages and settings.\n"


def test_an_image_without_a_list_of_files_says_so(cli: Cli) -> None:
    said = cli("image", "diff", "web@2", "web@3")
    assert said.err == "Files are not compared: there is no list of those of web@3.\n"
    assert cli.json("image", "diff", "web@2", "web@3")["files"] is None
    assert "there is no generation web@9" in cli("image", "diff", "web@1", "web@9", code=1).err


def test_who_would_change(cli: Cli, client: Namespace) -> None:
    assert cli("would-change").out == "Never reported that they are up: n[1-2].\n"
    Machine(client, MAC).come_up()
    assert cli("would-change", "node/n1").out == "1 node would boot what it runs.\n"
    cli("rack", "set", "r1", "--kernel-args", "console=ttyS1")
    assert cli("would-change", "rack/r1").out == (
        "Node n1 of rack r1 runs web@1 and would boot it with other kernel arguments.\n"
        "Never reported that they are up: n2.\n"
    )
    cli("rack", "set", "r1", "--kernel-args", "")
    assert cli("would-change", "node/n1").out == "1 node would boot what it runs.\n"
    cli("pin", "rack/r1", "web@2", *WHY)
    told = cli("would-change", "role/compute").out.splitlines()
    assert told[0] == "Node n1 of rack r1 runs web@1 and would boot web@2."
    assert told[3].startswith("web@1 → web@2: cmdline quiet → debug; kernel_release 6.1.0-1 → ")
    assert told[3].endswith(
        "1 package added; 1 package removed; 1 package upgraded;"
        " 1 file added; 1 file changed; 1 file removed"
    )
    found = cli.json("would-change")
    assert [(one["node"], one["next"], one["why"]) for one in found["nodes"]] == [
        ("n1", "web@2", "generation")
    ]
    assert (found["unchanged"], found["unknown"]) == (0, ["n2"])
    assert found["differences"][0]["packages"][0]["name"] == "curl"


def test_once_and_nothing_at_all(cli: Cli) -> None:
    cli("node", "boot-once", "n1", "web@1")
    assert cli.json("would-change", "node/n1")["nodes"][0]["why"] == "once"
    cli("node", "boot-once", "n1", "--cancel")
    cli("unpin", "rack/r1", *WHY)
    cli("unpin", "site", *WHY)
    assert cli("would-change", "node/n1").out == (
        "Node n1 of rack r1 runs web@1 and would boot nothing: it holds.\n"
    )
    assert "there is no node in rack/r9" in cli("would-change", "rack/r9", code=1).err
    assert "is not a scope" in cli("would-change", "shelf/1", code=1).err

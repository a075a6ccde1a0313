"""Commands on what a node does once, against a real server."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.runner import Cli
from tests.cli.test_complete import completed
from tests.support.api import Admin


@pytest.fixture(scope="module", autouse=True)
def node(cli: Cli, admin: Admin) -> None:
    admin.publish("web", "1")
    cli("node", "add", "n1", "--mac", "52:54:00:0c:00:01", "--image", "web")


def test_what_is_set_is_shown_listed_and_cancelled(cli: Cli, tmp_path: Path) -> None:
    assert "Set it with" in cli("node", "boot-once", "n1").err
    said = cli("node", "boot-once", "n1", "local").out
    assert said == "The next boot of n1, and that one only, is its local disk.\n"
    said = cli("node", "boot-once", "n1", "web@1").out
    assert said == "The next boot of n1, and that one only, is web@1.\n"
    assert "Once            web@1, set by root\n" in cli("node", "show", "n1").out
    explained = cli("explain", "n1").out
    assert "Once, before that  web@1, set by root 2" in explained
    assert "bootserve.generation=web@1" in explained
    script = tmp_path / "memtest.ipxe"
    script.write_text("#!ipxe\nshell\n")
    assert "a script of 13 bytes" in cli("node", "boot-once", "n1", "script", script).out
    assert cli("explain", "n1", "--script").out == "#!ipxe\nshell\n"
    assert cli.json("node", "boot-once", "n1")["pending"]["script"] == "#!ipxe\nshell\n"
    cancelled = cli("node", "boot-once", "n1", "--cancel").out
    assert cancelled == "a script of 13 bytes is cancelled; n1 boots what its pins say.\n"
    listed = cli("node", "boot-once", "n1").out.splitlines()
    assert [next(w for w in ("cancelled", "replaced") if w in line) for line in listed[1:]] == [
        "cancelled",
        "replaced",
        "replaced",
    ]
    gone = cli("node", "boot-once", "n1", "--cancel", code=1).err
    assert gone == "bootserve: nothing waits for the next boot of n1\n"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["script"], 2, "goes with WHAT script"),
        (["local", "x.ipxe"], 2, "goes with WHAT script"),
        (["local", "--cancel"], 2, "goes without WHAT"),
        (["script", "/nowhere/x.ipxe"], 1, "cannot read /nowhere/x.ipxe"),
        (["script", "/proc/version"], 1, "begins with the line '#!ipxe'"),
        (["nonsense"], 1, "does not name a generation"),
        (["web@9"], 1, "which does not exist"),
    ],
)
def test_what_is_wrong_is_said(cli: Cli, words: list[str], code: int, said: str) -> None:
    result = cli("node", "boot-once", "n1", *words, code=code)
    assert said in " ".join(result.err.replace("│", " ").split())


def test_release(cli: Cli) -> None:
    said = cli("node", "release", "n1").out
    assert said == "n1 was not waiting; what had been counted of it is forgotten.\n"
    assert cli.json("node", "release", "n1") == {"node": "n1", "waited": ""}
    assert "there is no node n9" in cli("node", "release", "n9", code=1).err


def test_actions_are_offered(cli: Cli) -> None:
    assert completed("bootserve node boot-once n1 ", cli.state_dir) == ["local", "script", "web@1"]

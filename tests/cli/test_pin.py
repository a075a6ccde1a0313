"""Commands on pins and revisions, against a real server."""

from __future__ import annotations

import pytest

from bootserve.cli.output import Output
from tests.cli.runner import Cli, run_on_terminal, run_program
from tests.support.api import Admin

WHY = ("-m", "a test")


@pytest.fixture(scope="module", autouse=True)
def rack_of_two(cli: Cli, admin: Admin) -> None:
    for number in range(1, 6):
        admin.publish("web", str(number))
    admin.publish("db", "1")
    cli("role", "set", "compute", "--image", "web")
    cli("role", "set", "store", "--image", "db")
    for name, last in (("n1", 1), ("n2", 2)):
        cli("node", "add", name, "--mac", f"52540000000{last}", "--rack", "r1", "--role", "compute")


def revision(cli: Cli) -> int:
    number: int = cli.json("revisions", "--limit", "1")["revisions"][0]["number"]
    return number


def test_pinning_says_what_happens(cli: Cli) -> None:
    number = revision(cli)
    assert cli("pin", "rack/r1", "web@1", *WHY).out == (
        f"2 nodes boot web@1 from their next boot; revision {number + 1}.\n"
    )
    assert cli("pin", "node/n1", "web@2", *WHY).out == (
        f"1 node boots web@2 from its next boot; revision {number + 2}.\n"
    )
    stray = cli("pin", "rack/nowhere", "web@1", *WHY)
    assert stray.out == (f"No node boots anything else than before; revision {number + 3}.\n")
    assert stray.err == "warning: pin rack/nowhere web@1 applies to no node\n"
    assert cli("pins").out == (
        "SCOPE         GENERATION  NODES\n"
        "node/n1       web@2           1\n"
        "rack/nowhere  web@1           0\n"
        "rack/r1       web@1           1\n"
    )
    assert cli("unpin", "node/n1", *WHY).out == (
        f"1 node boots otherwise from its next boot; revision {number + 4}.\n"
    )
    assert "there is no pin of db on rack/r1" in cli("unpin", "rack/r1", "db", *WHY, code=1).err
    cli("unpin", "rack/nowhere", "web", *WHY)
    cli("unpin", "rack/r1", *WHY)
    assert cli.json("pins") == {"next": "", "revision": number + 6, "pins": []}
    assert cli("pins").out == ""
    assert "bootserve pin" in cli("pins").err


def test_json_is_the_servers_answer_and_warnings_stay_on_stderr(cli: Cli) -> None:
    result = cli("pin", "rack/empty", "web@1", *WHY, "--json")
    assert result.json["warnings"] == ["pin rack/empty web@1 applies to no node"]
    assert result.json["revision"]["message"] == "a test"
    assert isinstance(result.json["revision"]["at"], float)
    assert result.err.startswith("warning: ")
    cli("unpin", "rack/empty", *WHY)


def test_pins_that_are_refused(cli: Cli) -> None:
    number = revision(cli)
    other = cli("pin", "node/n1", "db@1", *WHY, code=1)
    assert "node n1 runs image web, not db" in other.err
    assert "--change-role" in other.err
    assert "there is no generation web@99" in cli("pin", "site", "web@99", *WHY, code=1).err
    assert "there is no node n9" in cli("pin", "node/n9", "web@1", *WHY, code=1).err
    assert revision(cli) == number


def test_change_role(cli: Cli) -> None:
    said = cli("pin", "node/n2", "db@1", "--change-role", "store", *WHY).out
    assert said.startswith("1 node boots db@1 from its next boot; revision ")
    assert cli.json("node", "show", "n2")["role"] == "store"
    cli("unpin", "node/n2", *WHY)
    cli("node", "set", "n2", "--role", "compute")


def test_rollback(cli: Cli) -> None:
    cli("pin", "site", "web@1", *WHY)
    good = revision(cli)
    cli("pin", "site", "web@2", *WHY)
    assert cli("rollback", str(good), "--dry-run").out == (
        f"Revision {good} can be restored whole.\n"
    )
    dry = cli.json("rollback", str(good), "--dry-run")
    assert (dry["revision"], dry["unrestorable"]) == (None, [])
    assert revision(cli) == good + 1
    assert cli("rollback", str(good), "-m", "2 is bad").out == (
        f"2 nodes boot otherwise from their next boot; revision {good + 2}.\n"
    )
    assert cli.json("pins")["pins"] == [{"scope": "site", "generation": "web@1", "nodes": 2}]
    assert "there is no revision 999" in cli("rollback", "999", *WHY, code=1).err
    cli("unpin", "site", *WHY)


def lossy(cli: Cli) -> int:
    """Make a revision that cannot be restored whole, and return its number."""
    cli("node", "add", "gone", "--mac", "52:54:00:00:00:0f", "--role", "compute")
    cli("pin", "node/gone", "web@3", *WHY)
    cli("pin", "rack/r1", "web@3", *WHY)
    number = revision(cli)
    cli("node", "rm", "gone")
    cli("pin", "rack/r1", "web@4", *WHY)
    return number


LOSS = "cannot be restored: pin node/gone web@3: node/gone no longer exists\n"


def test_losses_are_listed_first_and_need_partial_without_a_terminal(cli: Cli) -> None:
    old = lossy(cli)
    before = revision(cli)
    dry = cli("rollback", str(old), "--dry-run")
    assert dry.out == f"Revision {old} can be restored but for 1 of its pins.\n"
    assert dry.err == LOSS
    refused = cli("rollback", str(old), *WHY, code=1)
    assert refused.out == ""
    assert refused.err == LOSS + "Nothing was changed. Pass --partial to restore the rest.\n"
    assert cli("rollback", str(old), *WHY, "--json", code=1).out == ""
    assert revision(cli) == before
    done = cli("rollback", str(old), *WHY, "--partial", "--json")
    assert done.json["unrestorable"] == [LOSS[20:-1]]
    assert done.err == LOSS
    assert [one["generation"] for one in cli.json("pins")["pins"]] == ["web@3"]
    # --all brings the node back, so nothing is lost
    whole = cli("rollback", str(old), *WHY, "--all")
    assert whole.err == ""
    assert "node/gone" in {one["scope"] for one in cli.json("pins")["pins"]}
    cli("node", "rm", "gone")
    cli("unpin", "rack/r1", *WHY)


@pytest.mark.parametrize(("typed", "code"), [("y\n", 0), ("n\n", 1), ("\n", 1), ("\x03", 130)])
def test_losses_are_asked_about_on_a_terminal(cli: Cli, typed: str, code: int) -> None:
    old = lossy(cli)
    before = revision(cli)
    words = ("--state-dir", cli.state_dir, "rollback", str(old), *WHY)
    result = run_on_terminal(*words, typed=typed, until="[y/N]")
    assert result.code == code, result
    assert "node/gone no longer exists" in result.out
    assert "Traceback" not in result.out
    assert revision(cli) == before + (code == 0)
    cli("unpin", "rack/r1", *WHY)


def test_a_change_during_the_question_refuses_the_rollback(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = lossy(cli)

    def somebody_else_pins(_out: Output, _question: str) -> bool:
        run_program("--state-dir", cli.state_dir, "pin", "rack/r1", "web@5", *WHY)
        return True

    monkeypatch.setattr("bootserve.cli.pin.confirm", somebody_else_pins)
    before = revision(cli)
    refused = cli("rollback", str(old), *WHY, code=1)
    assert f"the current revision is {before + 1}, not {before}" in refused.err
    assert [one["generation"] for one in cli.json("pins")["pins"]] == ["web@5"]
    cli("unpin", "rack/r1", *WHY)


def test_revisions_are_paged(cli: Cli) -> None:
    newest = revision(cli)
    page = cli.json("revisions", "--limit", "3")["revisions"]
    assert [one["number"] for one in page] == [newest, newest - 1, newest - 2]
    page = cli.json("revisions", "--limit", "2", "--before", str(newest - 2))["revisions"]
    assert [one["number"] for one in page] == [newest - 3, newest - 4]
    lines = cli("revisions", "--limit", "1").out.splitlines()
    assert lines[0].split() == ["REVISION", "TIME", "AUTHOR", "MESSAGE"]
    assert lines[1].split()[0] == str(newest)

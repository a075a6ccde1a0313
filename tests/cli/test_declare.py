"""plan, apply, export and schema, against a real server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.runner import Cli, Result, run, run_on_terminal, run_program
from tests.support.api import Admin

SITE = """\
roles:
  compute: {image: web}
  store: {image: db, kernel_args: quiet}
racks:
  r12:
    kernel_args: console=ttyS1
    defaults: {role: compute, labels: {row: b}}
    nodes:
      r12n[01-16]:
        macs: 3c:ec:ef:00:00:[01-10]
        each: {address: "10.12.0.[11-26]"}
      r12s1: {macs: [3c:ec:ef:00:01:01, 3c:ec:ef:00:01:02], role: store}
nodes:
  spare: {macs: 3c:ec:ef:00:02:01}
pins:
  rack/r12: [web@1, db@1]
  node/r12n03: web@1
  node/r12n04: web@1
nbp_pins: {}
"""


@pytest.fixture(scope="module", autouse=True)
def generations(admin: Admin) -> None:
    for number in range(1, 4):
        admin.publish("web", str(number))
    admin.publish("db", "1")


@pytest.fixture
def file(tmp_path: Path, cli: Cli) -> Path:
    """The site file, applied."""
    path = tmp_path / "site.yaml"
    path.write_text(SITE)
    cli("apply", "-f", path, "--yes", "-m", "as declared")
    return path


def revision(cli: Cli) -> int:
    number: int = cli.json("revisions", "--limit", "1")["revisions"][0]["number"]
    return number


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_a_rack_is_a_few_lines_and_a_plan_says_what_it_comes_to(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text("roles: {}\nracks: {}\npins: {}\nnbp_pins: {}\n")
    cli("apply", "-f", path, "--yes")
    path.write_text(SITE)
    before = revision(cli)
    said = cli("plan", "-f", path, code=2).out
    assert said == (
        "+ role compute: image 'web'\n"
        "+ role store: image 'db', kernel_args 'quiet'\n"
        "+ rack r12: kernel_args 'console=ttyS1'\n"
        "+ 18 nodes: r12n[01-16], r12s1, spare\n"
        "+ pin node/r12n03 web@1\n"
        "+ pin node/r12n04 web@1\n"
        "+ pin rack/r12 db@1\n"
        "+ pin rack/r12 web@1\n"
        "\n"
        "Node spare is added and boots nothing: it holds at its next boot.\n"
        "Node r12s1 of rack r12 is added and boots db@1 at its next boot.\n"
        "16 nodes of rack r12 are added and boot web@1 at their next boot.\n"
        f"Planned against revision {before}.\n"
    )
    assert revision(cli) == before
    cli("apply", "-f", path, "--yes")
    assert revision(cli) == before + 1
    shown = cli.json("node", "show", "r12n16")
    assert shown["labels"] == {"address": "10.12.0.26", "row": "b"}
    assert shown["macs"] == ["3c:ec:ef:00:00:10"]


def test_no_change_is_0_a_change_is_2_and_an_error_is_1(
    cli: Cli, file: Path, tmp_path: Path
) -> None:
    number = revision(cli)
    said = cli("plan", "-f", file, code=0).out
    assert said == f"Nothing to change: revision {number} is as the file says.\n"
    assert cli("apply", "-f", file).out == said
    assert revision(cli) == number
    edit(file, "rack/r12: [web@1, db@1]", "rack/r12: [web@2, db@1]")
    assert cli("plan", "-f", file, code=2).out == (
        "~ pin rack/r12 web@1 → web@2\n"
        "\n"
        "14 nodes of rack r12 go from web@1 to @2 at their next boot;"
        " 2 are unchanged because of a node pin.\n"
        f"Planned against revision {number}.\n"
    )
    file.write_text("nodes: [")
    assert f"{file}:1: " in cli("plan", "-f", file, code=1).err
    assert "cannot read" in cli("plan", "-f", tmp_path / "none", code=1).err
    assert "No such option" in cli("plan", "--nope", code=1).err
    assert "Missing option" in cli("plan", code=1).err
    away = run("--state-dir", tmp_path, "plan", "-f", file)
    assert away.code == 1
    edit(file, "nodes: [", "roles: {}")
    assert "no server is running" in run("--state-dir", tmp_path, "plan", "-f", file).err


def test_a_saved_plan_is_done_exactly_and_as_one_revision(
    cli: Cli, file: Path, tmp_path: Path
) -> None:
    number = revision(cli)
    edit(file, "rack/r12: [web@1, db@1]", "rack/r12: [web@2, db@1]")
    edit(file, "  spare: {macs: 3c:ec:ef:00:02:01}", "  other: {macs: 3c:ec:ef:00:02:01}")
    saved = tmp_path / "plan.json"
    told = cli.json("plan", "-f", file, "-o", saved, code=2)
    assert told == json.loads(saved.read_text())
    assert told["base"] == number
    assert told["changes"]["nodes"] == {"other": {"macs": ["3c:ec:ef:00:02:01"]}, "spare": None}
    edit(file, "web@2", "web@3")  # no longer of any interest
    done = cli("apply", saved, "-m", "to 2")
    assert done.out == f"16 nodes boot otherwise from their next boot; revision {number + 1}.\n"
    newest = cli.json("revisions", "--limit", "1")["revisions"][0]
    assert (newest["number"], newest["message"]) == (number + 1, "to 2")
    pins = {(one["scope"], one["generation"]) for one in cli.json("pins")["pins"]}
    assert ("rack/r12", "web@2") in pins


def test_a_change_in_between_refuses_the_plan_and_is_shown(
    cli: Cli, file: Path, tmp_path: Path
) -> None:
    edit(file, "rack/r12: [web@1, db@1]", "rack/r12: [web@2, db@1]")
    saved = tmp_path / "plan.json"
    base = cli.json("plan", "-f", file, "-o", saved, code=2)["base"]
    cli("pin", "node/r12n05", "web@3", "-m", "try 3 by hand")
    cli("rack", "set", "r12", "--kernel-args", "console=ttyS0")
    refused = cli("apply", saved, code=1)
    assert refused.out == ""
    lines = refused.err.splitlines()
    assert f"Since the plan was made, against revision {base}:" in lines[0]
    assert lines[1].startswith(f"  revision {base + 2}, ")
    assert lines[1].endswith("root: set rack r12")
    assert lines[2].endswith("root: try 3 by hand")
    assert "  Node r12n05 of rack r12 goes from web@1 to @3 at its next boot." in lines
    assert (
        "  15 nodes of rack r12 get other kernel arguments with web@1 at their next boot." in lines
    )
    assert lines[-1] == "Nothing was changed. Look at that, and plan again."
    assert revision(cli) == base + 2


def test_a_racks_operator_is_told_that_its_plan_is_stale(
    cli: Cli, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(file, "rack/r12: [web@1, db@1]", "rack/r12: [web@2, db@1]")
    saved = tmp_path / "plan.json"
    cli("plan", "-f", file, "-o", saved, code=2)
    cli("rack", "set", "r12", "--kernel-args", "console=ttyS2")
    made = cli("token", "create", "of-r12", "--role", "operator", "--scope", "rack/r12")
    monkeypatch.setenv("BOOTSERVE_TOKEN", made.out.strip())
    refused = cli("apply", saved, code=1)
    assert "the current revision is" in refused.err
    assert "needs the role" not in refused.err


def test_an_export_is_the_state_and_applying_it_changes_nothing(
    cli: Cli, file: Path, tmp_path: Path
) -> None:
    number = revision(cli)
    exported = tmp_path / "export.yaml"
    cli("export", "-o", exported)
    text = exported.read_text()
    assert cli("export").out == text
    assert f"# Revision {number}." in text
    assert "      r12n[01-16]:\n        macs: 3c:ec:ef:00:00:[01-10]\n" in text
    assert "          address: 10.12.0.[11-26]\n" in text
    assert "Nothing to change" in cli("plan", "-f", exported).out
    assert revision(cli) == number


def test_a_section_that_is_left_out_is_left_as_it_is(cli: Cli, file: Path, tmp_path: Path) -> None:
    part = tmp_path / "part.yaml"
    part.write_text("roles:\n  compute: {image: web, kernel_args: quiet}\n  store: {image: db}\n")
    planned = cli.json("plan", "-f", part, code=2)
    assert set(planned["changes"]["roles"]) == {"compute", "store"}
    assert not planned["changes"]["nodes"]
    assert not planned["changes"]["pins"]
    part.write_text("nodes: {}\n")
    planned = cli.json("plan", "-f", part, code=2)
    assert len(planned["changes"]["nodes"]) == 18
    assert {one["scope"] for one in planned["changes"]["pins"]} == {"node/r12n03", "node/r12n04"}
    assert "- 18 nodes: r12n[01-16], r12s1, spare" in planned["lines"]


def refused(cli: Cli, file: Path) -> Result:
    before = revision(cli)
    found = cli("plan", "-f", file, code=1)
    assert cli("apply", "-f", file, "--yes", code=1).err == found.err
    assert revision(cli) == before
    return found


def test_what_no_commit_would_take_is_refused_by_the_plan(cli: Cli, file: Path) -> None:
    edit(file, "rack/r12: [web@1, db@1]", "rack/r12: [web@9, db@1]")
    assert "there is no generation web@9" in refused(cli, file).err
    edit(file, "web@9", "web@1")
    edit(file, "node/r12n03: web@1", "node/r12n03: db@1")
    assert "would name another image than the node's (web)" in refused(cli, file).err


def test_warnings(cli: Cli, file: Path) -> None:
    edit(file, "  spare: {macs: 3c:ec:ef:00:02:01}", "  spare: {macs: 3c:ec:ef:00:02:01, role: x}")
    edit(file, "nbp_pins", "  role/compte: web@1\nnbp_pins")
    said = cli("plan", "-f", file, code=2).err
    assert "warning: node spare has role x, which does not exist\n" in said
    assert "warning: pin role/compte web@1: no such role exists\n" in said


@pytest.mark.parametrize(("typed", "code"), [("y\n", 0), ("n\n", 1)])
def test_applying_a_file_is_asked_about(cli: Cli, file: Path, typed: str, code: int) -> None:
    edit(file, "rack/r12: [web@1, db@1]", "rack/r12: [web@2, db@1]")
    before = revision(cli)
    assert "Pass --yes" in run_program("--state-dir", cli.state_dir, "apply", "-f", file).err
    words = ("--state-dir", cli.state_dir, "apply", "-f", file)
    answered = run_on_terminal(*words, typed=typed, until="[y/N]")
    assert answered.code == code, answered
    assert "14 nodes of rack r12 go from web@1 to @2" in answered.out
    assert revision(cli) == before + (code == 0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is no plan"),
        ("{}", "is no plan"),
        ('{"base": 1, "changes": {"nodes": {"a": {"macs": ["zz"]}}}}', "'zz' is not a MAC"),
        ('{"base": 1, "changes": {"nodes": {"a": 1}}}', "node a is no mapping"),
        ('{"base": 1, "changes": {"nodes": {"a": {"x": "y"}}}}', "node a has no field 'x'"),
        ('{"base": 1, "changes": {"pins": [{"scope": "site"}]}}', "is no text"),
    ],
)
def test_what_is_no_plan(cli: Cli, tmp_path: Path, text: str, words: str) -> None:
    saved = tmp_path / "plan.json"
    saved.write_text(text)
    assert words in cli("apply", saved, code=1).err


def test_a_plan_or_a_file(cli: Cli, file: Path) -> None:
    assert "give a saved plan, or a site file" in cli("apply", code=2).err
    assert "give a saved plan, or a site file" in cli("apply", file, "-f", file, code=2).err
    assert "a site file is applied with -f" in " ".join(cli("apply", file, code=1).err.split())


def test_the_addresses_are_exported_for_a_dhcp_server(cli: Cli, file: Path, tmp_path: Path) -> None:
    lines = cli("export", "dnsmasq").out.splitlines()
    assert lines[0] == f"# bootserve, revision {revision(cli)}"
    assert "dhcp-host=3c:ec:ef:00:00:10,10.12.0.26,r12n16" in lines
    dhcp = json.loads(cli("export", "kea", "--subnet", "10.12.0.0/24").out)["Dhcp4"]
    assert len(dhcp["subnet4"][0]["reservations"]) == 16
    target = tmp_path / "hosts.conf"
    cli("export", "isc", "-o", target)
    assert "fixed-address 10.12.0.11;" in target.read_text()
    assert "goes with kea only" in cli("export", "isc", "--subnet", "10.0.0.0/8", code=2).err
    cli("node", "set", "r12n01", "--label", "address=nowhere")
    assert "label address is 'nowhere'" in cli("export", "kea", code=1).err


def test_an_import_is_a_file_to_look_at_and_plan(cli: Cli, file: Path, tmp_path: Path) -> None:
    ethers, site = tmp_path / "ethers", tmp_path / "imported.yaml"
    ethers.write_text("3c:ec:ef:00:09:01 new1\n3c:ec:ef:00:09:02 new2\nnothing\n")
    before = revision(cli)
    said = cli("import", "ethers", ethers, "--rack", "r9", "--role", "compute", "-o", site)
    assert said.err.splitlines()[0] == f"{ethers}:3: this is no MAC address and host: left out"
    assert "defaults: {role: compute}" in site.read_text()
    assert revision(cli) == before
    lines = cli("plan", "-f", site, code=2).out.splitlines()
    assert lines[1:3] == ["+ 2 nodes: new[1-2]", "- 18 nodes: r12n[01-16], r12s1, spare"]
    told = cli.json("import", "ethers", ethers)
    assert told["nodes"]["new1"] == {"macs": ["3c:ec:ef:00:09:01"]}
    assert told["notes"] == [f"{ethers}:3: this is no MAC address and host: left out"]
    ethers.write_text("# nobody\n")
    assert "no node was found" in cli("import", "ethers", ethers, code=1).err

"""reboot, reboots and hooks on the command line, against a server that declares hooks."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from vm_harness.lab import Lab

from tests.cli.runner import Cli, Result
from tests.cli.test_complete import completed
from tests.servers.reboots.conftest import Site


@pytest.fixture(scope="module")
def site(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(lab, tmp_path_factory.mktemp("site"))
    yield made
    made.server.stop()


@pytest.fixture(scope="module")
def cli(site: Site) -> Cli:
    return Cli(site.server.state_dir)


def test_a_reboot_is_followed_to_its_end_and_listed(site: Site, cli: Cli) -> None:
    name, machine = site.node()

    def boot() -> None:
        site.until(name, lambda one: bool(one["phase"] == "waiting"))
        machine.come_up()

    boots = threading.Thread(target=boot)
    boots.start()
    done = cli("reboot", name, "--by", "hook")
    boots.join()
    assert f"{name} is rebooted and up, in " in done.out
    assert "hook cordon (before), attempt 1: succeeded, exit code 0\n" in done.err
    assert done.err.endswith(
        f"{name}: it is up\nhook uncordon (after), attempt 1: succeeded, exit code 0\n"
    )
    listed = cli("reboots", name).out.splitlines()
    assert listed[0].split()[:3] == ["ASKED", "FOR", "NODE"]
    assert " hook " in listed[1]
    assert " done " in listed[1]
    assert f"  cordon at {name}\n" in cli("reboots", name, "--hooks").out
    audited = cli("audit", "--kind", "reboot", "--node", name).out.splitlines()[1:]
    assert f" reboot-{name}-1 done " in audited[0]
    assert f" reboot-{name}-1 asked for by hook " in audited[1]
    assert [line.split()[2] for line in audited] == ["bootserve", "root"]
    (shown,) = cli.json("reboots", name)["reboots"]
    assert (shown["done"], shown["by"], len(shown["runs"])) == (True, "root", 4)


def test_one_that_fails_says_why_and_what_the_hook_said(site: Site, cli: Cli) -> None:
    name, _ = site.node("r2")
    site.says("aside", "echo not today; exit 3")
    failed = cli("reboot", name, "--by", "hook", code=1)
    assert f"{name} is not rebooted: hook aside failed: exit code 3\n" in failed.out
    assert "hook aside, attempt 1, said:\n" in failed.out
    assert "not today\n" in failed.out
    assert " skipped " in cli("reboots", name).out
    assert cli.json("reboot", name, "--by", "hook", code=1)["skipped"]


def test_it_is_begun_and_left_off(site: Site, cli: Cli) -> None:
    name, _ = site.node()
    begun = cli("reboot", name, "--by", "none", "--no-hooks", "--no-wait").out
    assert begun == f"reboot-{name}-1 is begun, by none. See 'bootserve reboots {name}'.\n"
    again = cli("reboot", name, code=1).err
    assert f"node {name} is being rebooted already" in again
    assert "--cancel" in again
    assert "cancelled by root" in cli("reboot", name, "--cancel").out
    assert f"no reboot of {name} is under way" in cli("reboot", name, "--cancel", code=1).err


def test_hooks_are_listed_and_tried(site: Site, cli: Cli) -> None:
    name, _ = site.node()
    listed = cli("hooks", "list").out
    assert [line.split()[0] for line in listed.splitlines()[1:]] == [
        *("cordon", "drain", "aside", "noted", "press", "uncordon")
    ]
    done = cli("hooks", "test", "cordon", name)
    assert done.out.startswith(f"cordon at {name}\nhook cordon succeeded for {name}: exit code 0")
    assert (site.folder / "calls").read_text().splitlines()[-1] == f"cordon before {name} 1 0 1"
    site.says("noted", "exit 5")
    assert "hook noted failed" in cli("hooks", "test", "noted", name, code=1).out
    assert site.reboots(name) == []
    assert "there is no hook x" in cli("hooks", "test", "x", name, code=1).err
    assert completed("bootserve hooks test un", cli.state_dir) == ["uncordon"]


def test_what_a_hook_is_given_is_the_sites_to_see(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = {}
    for scope in ("site", "rack/r1"):
        made = cli("token", "create", f"of-{scope[-2:]}", "--role", "viewer", "--scope", scope)
        with monkeypatch.context() as patched:
            patched.setenv("BOOTSERVE_TOKEN", made.out.strip())
            shown[scope] = {one["name"]: one["run"] for one in cli.json("hooks", "list")["hooks"]}
    assert len(shown["site"]["cordon"]) > 1
    assert shown["rack/r1"] == {name: run[:1] for name, run in shown["site"].items()}


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["reboot", "n99"], 1, "there is no node n99"),
        (["reboot", "n1", "--cancel", "--no-hooks"], 2, "it goes alone"),
        (["reboot", "n1", "--by", "magic"], 2, "'magic' is not one of"),
        (["reboots", "n99"], 1, "there is no node n99"),
    ],
)
def test_what_is_wrong_is_said(
    site: Site, cli: Cli, words: list[str], code: int, said: str
) -> None:
    result: Result = cli(*words, code=code)
    assert said in " ".join(result.err.replace("│", " ").split())

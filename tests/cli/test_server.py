"""Commands on the running server and on what nodes did."""

from __future__ import annotations

import re

import pytest
from vm_harness.net import Namespace
from vm_harness.server import BootServer

from bootserve.cli.output import Output
from bootserve.cli.server import render_phases, render_status
from bootserve.servers.admin.schemas_seen import BootList, StatusOut
from tests.cli.runner import Cli, run
from tests.cli.test_main import LEAVES
from tests.support.api import Admin
from tests.support.bundles import ROOT
from tests.support.curl import curl

MAC = "02:00:00:44:00:60"
TOKEN = "c" * 64
SITES = f"{ROOT}/tests/core/site/samples"


@pytest.fixture(scope="module", autouse=True)
def booted(cli: Cli, admin: Admin, client: Namespace) -> str:
    """Let node n1 boot web@1 as far as the report of a failure; return the boot's id."""
    client.ip("link", "set", "eth1", "address", MAC)
    for number in (1, 2):
        admin.publish("web", str(number), cmdline="quiet")
    cli("role", "set", "compute", "--image", "web", "--kernel-args", "iommu=on")
    cli("rack", "set", "r1", "--kernel-args", "console=ttyS1")
    cli("node", "add", "n1", "--mac", MAC, "--rack", "r1", "--role", "compute")
    cli("node", "set", "n1", "--kernel-args", "debug")
    cli("pin", "site", "web@1", "-m", "all")
    cli("pin", "rack/r1", "web@1", "-m", "rack")
    cli("pin", "site", "web@2", "-m", "all")
    script = curl(client, f"/boot/{MAC}.ipxe").text
    found = re.search(r"bootserve\.boot=([0-9a-f]{32})", script)
    assert found, script
    for phase, text in (("up", ""), ("failed", "\x1b]0;owned\x07last")):
        answer = curl(
            client,
            f"/report/{found[1]}?phase={phase}&generation=web@9&root={'d' * 64}",
            *("-X", "POST", "-H", f"Authorization: Bearer {TOKEN}", "--data-binary", text),
        )
        assert answer.status == 202, answer.text
    return found[1]


def test_status(cli: Cli) -> None:
    shown = cli("status").out
    assert re.search(r"^State +ready$", shown, re.M)
    assert re.search(r"^Interface +eth1, http://10\.44\.0\.2:8080$", shown, re.M)
    assert re.search(r"^Boots in the last hour +1$", shown, re.M)
    assert "Problem" not in shown
    status = cli.json("status")
    assert status["ready"] is True
    assert isinstance(status["started_at"], float)


def test_status_of_a_server_in_trouble(cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    said = cli.json("status")
    said |= {"ready": False, "problems": ["the journal is full\x1b"], "journal_full": True}
    said |= {"journal_lost": 3, "quarantined": ["ab" * 32]}
    render_status(Output(), StatusOut.model_validate(said))
    shown = capsys.readouterr().out
    assert re.search(r"^State +not ready$", shown, re.M)
    assert re.search(r"^Problem +the journal is full\\x1b$", shown, re.M)
    assert "; FULL; 3 lost" in shown
    assert "ab" * 32 in shown


def test_boots(cli: Cli, booted: str) -> None:
    (boot,) = cli.json("boots")["boots"]
    assert (boot["id"], boot["node"], boot["generation"]) == (booted, "n1", "web@1")
    head, line = cli("boots", "n1").out.splitlines()
    assert head.split() == [
        *("TIME", "NODE", "GENERATION", "REVISION", "PHASE", "SECONDS", "RUNS", "IPXE", "BOOT")
    ]
    assert line.split()[2:5] == ["n1", "web@1", str(boot["revision"])]
    assert "failed" in line
    assert "web@9" in line, "what it says it runs is shown, since that is not its pin"
    assert cli("boots", "n2").out == ""
    assert cli.json("boots", "--before", booted)["boots"] == []
    assert "there is no boot" in cli("boots", "--before", "f" * 32, code=1).err


def test_phases_cannot_write_to_the_terminal(cli: Cli, booted: str) -> None:
    shown = cli("boots", "--phases").out
    assert booted in shown
    assert re.search(r"^ +0\.\d\d +script", shown, re.M)
    assert re.search(r"failed .*\\x1b\]0;owned\\x07last\n", shown)


def test_a_phases_detail_keeps_its_lines(cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    answer = BootList.model_validate(cli.json("boots"))
    phase = answer.boots[0].phases[0].model_copy(update={"detail": "one\r\n\x1b[2Jtwo"})
    boot = answer.boots[0].model_copy(update={"phases": [phase]})
    render_phases(Output(), BootList(boots=[boot]))
    assert capsys.readouterr().out.endswith(f"{phase.phase}  one\n{' ' * 19}\\x1b[2Jtwo\n")


def test_explain(cli: Cli, client: Namespace) -> None:
    shown = cli("explain", "n1").out
    assert "Node              n1, rack r1, role compute, amd64\n" in shown
    assert "Image             web, from role compute\n" in shown
    assert "Next boot         web@1\n" in shown
    assert "Pin that decides  rack/r1 web@1\n" in shown
    assert "Pins that do not  site web@2: rack beats site\n" in shown
    assert (
        "Kernel arguments  iommu=on  (from role compute)\n"
        "                  console=ttyS1  (from rack r1)\n"
        "                  debug  (from node n1)\n"
    ) in shown
    assert "UEFI PXE offer    pxe10, the server's default\n" in shown
    assert re.search(r"^Last boot +web@1 at .* reached failed after \d", shown, re.M)
    script = cli("explain", "n1", "--script").out
    assert script.startswith("#!ipxe\n")
    assert shown.endswith("The script it would be served now:\n" + script)
    assert cli.json("explain", "n1", "--script")["script"] == script
    assert len(cli.json("boots")["boots"]) == 1, "to explain is not to boot"
    assert "there is no node n9" in cli("explain", "n9", code=1).err


def test_explain_nodes_that_do_not_boot(cli: Cli) -> None:
    cli("node", "add", "held", "--mac", "52:54:00:00:02:01")
    cli("node", "add", "disk", "--mac", "52:54:00:00:02:02", "--boot", "local")
    held = cli("explain", "held").out
    assert "Next boot         none: it holds and asks again\n" in held
    assert "Image             none\n" in held
    assert "Last boot         never\n" in held
    assert "Next boot         its own disk\n" in cli("explain", "disk").out


def test_scrub_and_reload(cli: Cli) -> None:
    assert cli("scrub").out == "6 artifacts read, 0 quarantined.\n"
    assert cli.json("scrub") == {"checked": 6, "quarantined": []}
    assert cli("reload").out == "Templates, quirks and certificate are read again.\n"
    assert cli.json("reload")["ready"] is True


SAMPLES: dict[str, list[str]] = {
    "config show": [],
    "node add": ["j1", "--mac", "52:54:00:00:03:01"],
    "node set": ["j1", "--rack", "r3"],
    "node list": [],
    "node show": ["j1"],
    "node discovered": [],
    "node adopt": ["52:54:00:00:03:02", "j2"],
    "node forget": ["52:54:00:00:03:03"],
    "node boot-once": ["j1", "local"],
    "node release": ["j1"],
    "node rm": ["j1"],
    "role set": ["spare", "--image", "web"],
    "role list": [],
    "role rm": ["spare"],
    "rack set": ["r3", "--kernel-args", ""],
    "rack list": [],
    "pin": ["rack/r3", "web@2", "-m", "x"],
    "pins": [],
    "unpin": ["rack/r3", "-m", "x"],
    "rollback": ["1", "--dry-run"],
    "revisions": [],
    "image list": [],
    "image show": ["web@1"],
    "image verify": ["web@1"],
    "image export": ["web@1", "--output", "exported"],
    "image import": ["exported"],
    "nbp add": ["/usr/lib/ipxe/snponly.efi", "--arch", "x64"],
    "nbp list": [],
    "nbp pin": ["site", "snponly.efi", "-m", "x"],
    "nbp unpin": ["site", "-m", "x"],
    "nbp rm": ["unused.efi"],
    "status": [],
    "boots": [],
    "explain": ["n1"],
    "scrub": [],
    "reload": [],
    "whoami": [],
    "token create": ["robot", "--role", "viewer", "--scope", "site"],
    "token list": [],
    "token revoke": ["robot"],
    "access grant": ["uid:4242", "operator", "rack/r1"],
    "access list": [],
    "access revoke": ["uid:4242", "rack/r1"],
    "schema site": [],
    "import ethers": [f"{SITES}/ethers"],
    "import dnsmasq": [f"{SITES}/dnsmasq.conf"],
    "import netbox": [f"{SITES}/netbox-{kind}.csv" for kind in ("devices", "interfaces")],
    "import warewulf": [f"{SITES}/nodes.conf"],
    "export": [],
    "plan": ["-f", "site.yaml"],
    "apply": ["-f", "site.yaml", "-m", "x"],
    "would-change": [],
    "image diff": ["web@1", "web@2"],
    "rollout start": ["rack/r1", "web@2", "--stages", "100%"],
    "rollout status": [],
    "rollout nodes": [],
    "rollout list": [],
    "rollout pause": [],
    "rollout resume": [],
    "rollout abort": [],
    "drift": [],
    "reboot": ["n1", "--by", "none", "--no-wait"],
    "reboots": [],
    "hooks list": [],
    "audit head": [],
    "audit key": [],
    "audit verify": [],
    "as-of": ["0s"],
    "image revoke": ["spare@1", "-m", "it eats disks"],
    "image unrevoke": ["spare@1", "-m", "it was the cable"],
    "image rm": ["spare@1"],
}
"""Each command as it is run for its JSON, in an order that works out."""
ELSEWHERE = {
    "image build",  # takes long, and is tested where it is
    "audit export",  # prints JSON lines
    *("probe", "doctor", "login", "logout", "hooks test", "rollout retry"),  # tested where they are
}


def test_every_commands_json_parses(
    cli: Cli,
    admin: Admin,
    client: Namespace,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    printing = {
        " ".join(path)
        for path, command in LEAVES.items()
        if any("--json" in param.opts for param in command.params)
    }
    assert printing - ELSEWHERE == set(SAMPLES)
    assert {" ".join(path) for path in LEAVES} - printing == {"serve"}  # which prints its log
    monkeypatch.chdir(tmp_path_factory.mktemp("json"))
    admin.publish("spare", "1")
    cli("nbp", "add", "/usr/lib/ipxe/snponly.efi", "--arch", "x64", "--name", "unused.efi")
    for last in (2, 3):
        assert curl(client, f"/boot/52-54-00-00-03-0{last}.ipxe").status == 200
    for name, words in SAMPLES.items():
        if name == "plan":
            cli("export", "--output", "site.yaml")
        json_only = cli(*name.split(), *words, "--json")
        assert json_only.json is not Ellipsis, name


def test_a_server_that_has_ended(cli: Cli, server: BootServer) -> None:
    server.terminate()
    result = run("--state-dir", cli.state_dir, "status")
    assert result.code == 3
    server.start()
    cli("status")

"""The iPXE scripts, whole."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from bootserve import resources
from bootserve.core.ipxe import Ipxe
from bootserve.core.scripts import TEMPLATES, BootLine, ScriptRenderer, script_url
from bootserve.core.snapshot import NodePlan, Snapshot
from bootserve.errors import InvalidInput
from bootserve.model.desired import BootFrom, Rack
from tests.support.states import MAC, generation, node, snapshot, state

BASE = "http://10.0.0.1:8080"
LINE = BootLine("b" * 32, MAC, BASE)
SHIPPED = {name: (resources.templates() / f"{name}.ipxe.j2").read_text() for name in TEMPLATES}


@pytest.fixture
def renderer() -> ScriptRenderer:
    return ScriptRenderer(SHIPPED)


def planned(**fields: Any) -> tuple[Snapshot, NodePlan]:
    pins = str(fields.pop("pins", "site web@1"))
    one = node(rack="r1", role="compute", **fields)
    found = snapshot(
        state(one, pins=pins, racks=(Rack("r1", "hugepages=4"),)),
        generation("web@1", cmdline="quiet console=ttyS0", min_memory_mib=512),
        revision=7,
    )
    return found, found.plans["n1"]


def test_the_node_script(renderer: ScriptRenderer) -> None:
    found, plan = planned(kernel_args="iommu=pt")
    artifacts = generation("web@1", cmdline="quiet console=ttyS0").manifest.artifacts
    kernel, initrd, root = (artifacts[name].sha256 for name in ("kernel", "initrd", "root"))
    machine = "825d89948fa8447a8e1e9e673a170cc5"
    expected = f"""#!ipxe
# node n1: web@1, revision 7, boot {"b" * 32}
set attempt:int32 0
echo
echo bootserve: node n1 boots web@1 (revision 7)
:fetch
imgfree
echo bootserve: fetching the kernel
kernel --name kernel {BASE}/artifacts/sha256/{kernel} initrd=initrd panic=30 quiet console=ttyS0 \
hugepages=4 iommu=pt BOOTIF=01-52-54-00-00-00-01 bootserve.server={BASE} \
bootserve.boot={"b" * 32} bootserve.generation=web@1 bootserve.root={root} \
bootserve.root_size=4096 bootserve.root_format=squashfs bootserve.overlay=50% \
bootserve.min_memory=512 systemd.machine_id={machine} systemd.hostname=n1 || goto failed
echo bootserve: fetching the initrd
initrd --name initrd {BASE}/artifacts/sha256/{initrd} || goto failed
boot || goto failed
:failed
inc attempt
echo bootserve: attempt ${{attempt}} of 5 failed, trying again
iseq ${{attempt}} 1 && sleep 2 ||
iseq ${{attempt}} 2 && sleep 4 ||
iseq ${{attempt}} 3 && sleep 9 ||
iseq ${{attempt}} 4 && sleep 17 ||
iseq ${{attempt}} 5 || goto fetch
echo bootserve: asking for the script again
:again
sleep 35
chain --replace --autofree {BASE}/boot/52-54-00-00-00-01.ipxe ||
echo bootserve: the boot server does not answer, trying again
goto again
"""
    assert renderer.for_node(found, plan, LINE) == expected


@pytest.mark.parametrize(
    ("ipxe", "told"),
    [
        (Ipxe(), False),
        (Ipxe(known=True, version="1.21.1", bzimage=True), False),
        (Ipxe(known=True, version="1.21.1", efi=True), False),
        (Ipxe(known=True, version="1.21.1", https=True), True),
    ],
)
def test_an_ipxe_that_cannot_start_linux_is_told_on_its_console(
    renderer: ScriptRenderer, ipxe: Ipxe, told: bool
) -> None:
    found, plan = planned()
    text = renderer.for_node(found, plan, replace(LINE, ipxe=ipxe))
    assert ("this iPXE 1.21.1 says that it cannot start a Linux kernel" in text) is told
    assert renderer.for_node(found, plan, LINE).count("cannot start") == 0


def test_templates_can_use_what_the_ipxe_has_and_nothing_that_is_not_there() -> None:
    sources = {**SHIPPED, "hold": "#!ipxe\n{{ ipxe.https }} {{ ipxe.version }}\n"}
    _, plan = planned(pins="")
    line = replace(LINE, ipxe=Ipxe(known=True, version="1.21.1", https=True))
    assert ScriptRenderer(sources).held(plan, line, "x") == "#!ipxe\nTrue 1.21.1\n"
    with pytest.raises(
        InvalidInput, match=r"hold\.ipxe\.j2, line 2: .*has no attribute 'imgverify'"
    ):
        ScriptRenderer({**SHIPPED, "hold": "#!ipxe\n{{ ipxe.imgverify }}\n"})


def test_the_pauses_grow_and_differ_between_nodes(renderer: ScriptRenderer) -> None:
    found, plan = planned()
    pauses = set()
    for last in range(1, 21):
        line = BootLine(LINE.boot_id, f"52:54:00:00:00:{last:02x}", BASE)
        text = renderer.for_node(found, plan, line)
        sleeps = [
            int(row.split("sleep ")[1].split()[0]) for row in text.splitlines() if "sleep " in row
        ]
        assert sleeps == sorted(sleeps)
        assert 1 <= sleeps[0] <= 3
        assert 24 <= sleeps[-1] <= 40
        pauses.add(tuple(sleeps))
    assert len(pauses) > 10


@pytest.mark.parametrize(
    ("fields", "first_line"),
    [
        ({"pins": ""}, "# node n1 holds: no pin for image web applies to it"),
        (
            {"pins": "site web@9"},
            "# node n1 is stopped: pin site names web@9, which does not exist",
        ),
        ({"boot": BootFrom.LOCAL}, "# node n1 boots from its local disk"),
    ],
)
def test_a_node_that_does_not_boot_gets_no_artifact_and_asks_again(
    renderer: ScriptRenderer, fields: dict[str, object], first_line: str
) -> None:
    found, plan = planned(**fields)
    text = renderer.for_node(found, plan, LINE)
    assert text.splitlines()[:2] == ["#!ipxe", first_line]
    assert "artifacts" not in text
    assert f"chain --replace --autofree {script_url(BASE, MAC)}" in text


@pytest.mark.parametrize("register", [True, False])
def test_a_stranger_is_shown_its_own_names(renderer: ScriptRenderer, register: bool) -> None:
    text = renderer.for_stranger(MAC, BASE, register=register)
    for shown in (f"MAC    {MAC}", "UUID   ${uuid}", "serial ${serial}", "sleep 30"):
        assert shown in text
    assert ("node adopt" in text) is register


def test_a_reason_cannot_smuggle_ipxe_commands_into_a_script(renderer: ScriptRenderer) -> None:
    _, plan = planned()
    text = renderer.held(plan, LINE, "it\nreboot\n|| ${net0/mac} && poweroff")
    assert "${net0/mac} &&" not in text
    assert [row for row in text.splitlines() if row.startswith(("reboot", "poweroff"))] == []


@pytest.mark.parametrize(
    ("name", "text", "error"),
    [
        ("hold", "#!ipxe\necho {{ nope }}\n", "hold.ipxe.j2, line 2: 'nope' is undefined"),
        ("node", "#!ipxe\n\n{% if %}\n", "node.ipxe.j2, line 3: "),
        ("local", "echo\n", "local.ipxe.j2, line 1: a script must begin with"),
        ("discovery", "#!ipxe\n{{ mac.upper.x.y }}\n", "discovery.ipxe.j2, line 2: "),
    ],
)
def test_a_template_that_does_not_render_is_refused_with_its_line(
    name: str, text: str, error: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        ScriptRenderer({**SHIPPED, name: text})
    assert str(caught.value).startswith(error)


@pytest.mark.parametrize("name", TEMPLATES)
def test_no_script_ends_while_the_server_is_away(name: str) -> None:
    """A chain that fails goes back to a label above it, and there is a pause in that loop."""
    lines = SHIPPED[name].splitlines()
    last = max(at for at, line in enumerate(lines) if line.startswith("chain "))
    back = next((line for line in lines[last:] if re.search(r"(^|\|\| )goto \w+$", line)), "")
    assert back, f"{name}: after the last chain the console is dead"
    label = lines.index(f":{back.split()[-1]}")
    assert label < last
    assert any(line.startswith("sleep ") for line in lines[label:last])
    # until that goto, a command that fails does not end the script
    between = lines[last : lines.index(back, last)]
    assert all(line.endswith("||") or line.startswith("echo ") for line in between)
    assert any(line.startswith("echo bootserve: ") for line in lines[label:])


def test_a_missing_template_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"there is no template hold\.ipxe\.j2"):
        ScriptRenderer({name: text for name, text in SHIPPED.items() if name != "hold"})

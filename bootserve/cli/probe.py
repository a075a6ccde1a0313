"""``probe``: what answers a booting machine on a segment, and whether it would boot."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from bootserve.cli.command import JSON, install, signature_of
from bootserve.cli.findings import EXITS, exit_code, findings_json, render_findings
from bootserve.cli.output import Output
from bootserve.core.firmware import Firmware
from bootserve.core.offer_facts import Offer, in_words
from bootserve.errors import InvalidInput
from bootserve.model.names import parse_mac

if TYPE_CHECKING:
    from bootserve.probe.report import ProbeReport, Question, Stage

__all__ = ["add_commands", "complete_interfaces"]

EXTRA = ("scapy", "tftpy")
HELP = f"""Say what answers a machine that boots on this segment, and what its firmware makes of it.

Stands for a machine with the MAC and firmware given: broadcasts its DISCOVER, lists every DHCP and
proxyDHCP server that answers and what each sends, says which of them the firmware follows and why,
and fetches what it would fetch: boot program, script, kernel and initrd whole with their digests,
and the beginning of the root. It takes no lease and makes no boot.

Run it on a machine of the segment other than the servers, as root, with the Python packages scapy
and tftpy. Give the MAC of a node: bootserve answers no other unless --unknown says so. Its packets
bear option 224 = bootserve-probe, so that bootserve keeps no record of them. {EXITS}
"""


def complete_interfaces(incomplete: str) -> list[str]:
    """Return this machine's interfaces that begin with ``incomplete``, the loopback left out."""
    names = (name for _, name in socket.if_nameindex() if name != "lo")
    return sorted(name for name in names if name.startswith(incomplete))


InterfaceOption = Annotated[
    str,
    typer.Option(
        "--interface",
        "-i",
        metavar="NAME",
        help="The interface on the segment, such as eth1.",
        autocompletion=complete_interfaces,
    ),
]


def add_commands(app: typer.Typer) -> None:
    """Add ``probe`` to ``app``."""
    install(
        app,
        "probe",
        _run,
        [*signature_of(probe), JSON],
        HELP,
        [
            "bootserve probe --interface eth1 --mac 52:54:00:12:34:56",
            "bootserve probe --interface eth1 --firmware bios --wait 8 --json",
        ],
        "Look",
    )


def _run(context: typer.Context, **values: Any) -> None:
    json = values.pop("json")
    probe(Output(json=json), **values)


def probe(
    out: Output,
    *,
    interface: InterfaceOption,
    mac: Annotated[
        str,
        typer.Option("--mac", metavar="MAC", help="Whom to stand for. Default: the interface's."),
    ] = "",
    firmware: Annotated[
        Firmware, typer.Option("--firmware", help="What kind of firmware to stand for.")
    ] = Firmware.UEFI,
    wait: Annotated[
        float,
        typer.Option("--wait", min=0.5, max=60, help="Seconds to wait for offers; EDK2 waits 4."),
    ] = 4.0,
    full: Annotated[
        bool, typer.Option("--full", help="Read the whole root too, and check its digest.")
    ] = False,
) -> None:
    """Probe, print, and exit with what was found."""
    run, question_type = _engine()
    asked = question_type(
        interface, parse_mac(mac) if mac else _own_mac(interface), firmware, wait, full
    )
    report = run(asked, out.note)
    if out.is_json:
        out.json(_as_json(report))
    else:
        _render(out, report)
    raise typer.Exit(exit_code(report.findings))


def _engine() -> tuple[Any, type[Question]]:
    """Return what probes; raises InvalidInput without the packages that it needs."""
    try:
        from bootserve.probe.report import Question
        from bootserve.probe.run import probe as run
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        if name not in EXTRA:
            raise
        raise InvalidInput(
            f"'bootserve probe' needs the Python package {name}, which is not installed",
            hint="Install them: pip install 'bootserve[probe]'.",
        ) from None
    return run, Question


def _own_mac(interface: str) -> str:
    try:
        with open(f"/sys/class/net/{interface}/address") as file:
            return parse_mac(file.read().strip())
    except (OSError, ValueError):
        names = ", ".join(complete_interfaces(""))
        raise InvalidInput(
            f"there is no interface {interface!r}", hint=f"There are: {names}."
        ) from None


def _render(out: Output, report: ProbeReport) -> None:
    for stage in report.stages:
        out.line(f"{stage.title} ({report.question.mac}):", style="bold")
        if not stage.offers:
            out.line("  nobody answers")
        for offer in (*stage.offers, *stage.acks):
            out.line("")
            out.pairs([(_role(offer, stage), Text(offer.server, "bold")), *in_words(offer.packet)])
        out.line("")
    render_findings(out, report.findings)


def _role(offer: Offer, stage: Stage) -> str:
    if offer in stage.acks:
        return "boot server (4011)"
    if not offer.address:
        return "proxyDHCP server"
    return "DHCP and PXE server" if offer.is_pxe else "DHCP server"


def _as_json(report: ProbeReport) -> dict[str, Any]:
    asked = report.question
    return {
        "interface": asked.interface,
        "mac": asked.mac,
        "firmware": asked.firmware,
        "address": report.address,
        "stages": [_stage_json(stage) for stage in report.stages],
        "findings": findings_json(report.findings),
    }


def _stage_json(stage: Stage) -> dict[str, Any]:
    return {
        "title": stage.title,
        "answers": [
            {
                "server": offer.server,
                "source": offer.source,
                "role": _role(offer, stage),
                "says": [list(pair) for pair in in_words(offer.packet)],
            }
            for offer in (*stage.offers, *stage.acks)
        ],
        "loads": stage.target.file if stage.target else "",
        "from": stage.target.server if stage.target else "",
    }

"""One probe: ask as the firmware would, judge the answers, fetch what it would fetch."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from ipaddress import IPv4Address

from bootserve.core.disguise import boot_request, discover
from bootserve.core.firmware import Choice, Firmware, Step, judge, judge_ack
from bootserve.core.offer_facts import Offer
from bootserve.errors import BootserveError, InvalidInput
from bootserve.model.finding import Finding, Level
from bootserve.model.names import Mac
from bootserve.probe.checks import check_artifact, check_nbp, check_script
from bootserve.probe.report import ProbeReport, Question, Stage
from bootserve.probe.segment import Answers, Segment, ask_boot_server
from bootserve.service.interface import address_of
from bootserve.service.sockets import bound_sockets, owners

__all__ = ["probe"]

DHCP_PORT = 67
NAMES = {
    Firmware.BIOS: "BIOS firmware",
    Firmware.UEFI: "UEFI x64 firmware",
    Firmware.UEFI_ARM64: "UEFI arm64 firmware",
    Firmware.HTTP: "UEFI x64 firmware, HTTP boot",
    Firmware.IPXE: "iPXE",
}


def probe(question: Question, note: Callable[[str], None]) -> ProbeReport:
    """Ask and fetch as a booting machine would, and return what was found.

    It takes no lease and mints no boot: all it sends is DISCOVER, and to a boot server's port 4011
    the REQUEST for a file's name. ``note`` is told what goes on. Raises Refused without the right
    to send frames, InvalidInput or Unavailable for an interface that cannot be used.
    """
    address = _own_address(question.interface)
    findings = _this_machine(question.interface, address)
    asker = _Asker(Segment(question.interface), question, address, note)
    first = last = asker.stage(question.firmware, None)
    stages = [first]
    if first.target and question.firmware is not Firmware.IPXE:
        if address:
            note(f"fetching {first.target.file}")
            findings += check_nbp(question.firmware, first.target, address)
        last = asker.stage(Firmware.IPXE, question.firmware)
        stages.append(last)
    if last.target and last.firmware is Firmware.IPXE and address:
        findings += _script_and_artifacts(last.target, address, question.full, note)
    told = [one for stage in stages for one in stage.findings]
    return ProbeReport(question, address, tuple(stages), (*told, *findings))


def _own_address(interface: str) -> str:
    try:
        return str(address_of(interface, None).ip)
    except InvalidInput:
        return ""


def _this_machine(interface: str, address: str) -> list[Finding]:
    findings = []
    if not address:
        findings.append(
            Finding(
                Level.WARNING,
                "this machine",
                f"it has no address on {interface}, so nothing could be fetched",
                f"Give it a free one: ip address add 10.0.0.9/24 dev {interface}.",
            )
        )
    here = [
        one
        for one in bound_sockets()
        if one.protocol == "udp" and one.port == DHCP_PORT and one.address in ("0.0.0.0", address)
    ]
    if here:
        who = (
            ", ".join(str(one) for held in owners(here).values() for one in held)
            or "a process of another user"
        )
        findings.append(
            Finding(
                Level.WARNING,
                "this machine",
                f"{who} serves DHCP on this machine and cannot hear what is sent from it",
                "Run the probe on another machine of the segment.",
            )
        )
    return findings


def _script_and_artifacts(
    choice: Choice, address: str, full: bool, note: Callable[[str], None]
) -> list[Finding]:
    note(f"fetching {choice.file}")
    findings, artifacts = check_script(choice, address)
    for artifact in artifacts:
        note(f"fetching the {artifact.name}")
        findings.append(check_artifact(artifact, address, full=full))
    return findings


class _Asker:
    """Asks in the name of one MAC."""

    def __init__(
        self, segment: Segment, question: Question, address: str, note: Callable[[str], None]
    ) -> None:
        self._segment = segment
        self._question = question
        self._address = address
        self._note = note

    def stage(self, firmware: Firmware, loaded_by: Firmware | None) -> Stage:
        """Ask as ``firmware`` and return what comes of it."""
        asked, mac = self._question, self._question.mac
        title = NAMES[firmware] + (f", loaded by {NAMES[loaded_by]}" if loaded_by else "")
        self._note(f"asking as {title}, for {asked.seconds:g} s")
        packet = discover(firmware, mac, _xid(), ipxe_on=loaded_by)
        answers = self._segment.ask(packet, asked.seconds)
        judgement = judge(firmware, answers.offers)
        findings = [*_malformed(answers), *judgement.findings]
        target = next((one for one in judgement.choices if one.step is Step.LOAD), None)
        acks: list[Offer] = []
        for choice in judgement.choices:
            if choice.step is Step.ASK and target is None:
                ack, said = self._ask(firmware, choice, mac, loaded_by)
                findings += said
                if ack:
                    acks.append(ack)
                    judged = judge_ack(firmware, ack)
                    findings += judged.findings
                    target = next(iter(judged.choices), None)
        return Stage(title, firmware, answers.offers, tuple(acks), target, tuple(findings))

    def _ask(
        self, firmware: Firmware, choice: Choice, mac: Mac, loaded_by: Firmware | None
    ) -> tuple[Offer | None, list[Finding]]:
        if not self._address:
            return None, []
        self._note(f"asking {choice.server} on port 4011")
        request = boot_request(
            firmware,
            mac,
            _xid(),
            address=IPv4Address(self._address).packed,
            server=IPv4Address(choice.server).packed,
            ipxe_on=loaded_by,
        )
        try:
            ack = ask_boot_server(
                request,
                choice.server,
                interface=self._question.interface,
                address=self._address,
                seconds=self._question.seconds * 1.5,
            )
        except BootserveError as error:
            return None, [_silent(str(error))]
        if ack is None:
            return None, [_silent(f"{choice.server} does not answer on port 4011")]
        return ack, []


def _silent(found: str) -> Finding:
    return Finding(
        Level.ERROR,
        "boot",
        f"{found}, so the firmware gets no boot file from it",
        "Remove option 60 from that server's offers, or start the boot server behind them.",
    )


def _malformed(answers: Answers) -> list[Finding]:
    return [
        Finding(
            Level.WARNING,
            "offers",
            f"{source} sent what no client can read: {reason}",
            f"See what answers DHCP at {source}.",
        )
        for source, reason in answers.malformed
    ]


def _xid() -> int:
    return secrets.randbits(32)

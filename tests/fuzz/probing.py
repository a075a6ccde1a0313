"""What is fuzzed of the probe: what any server on a segment may answer it, or be uploaded."""

from __future__ import annotations

from ipaddress import IPv4Address

from bootserve.core.firmware import Firmware, Judgement, Step, judge, judge_ack
from bootserve.core.nbp_facts import inspect_nbp
from bootserve.core.offer_facts import Offer, in_words
from bootserve.core.script_facts import artifacts_of, generation_of
from bootserve.errors import InvalidInput, PacketError
from bootserve.model.finding import Level
from bootserve.model.nbp import NbpArch, check_program
from bootserve.wire.dhcp import parse
from bootserve.wire.pxe import ClientArch
from tests.fuzz import seeds
from tests.fuzz.target import Target

__all__ = ["TARGETS"]

EFI = {ClientArch.EFI_X64: NbpArch.X64, ClientArch.EFI_ARM64: NbpArch.ARM64}


def _check(found: Judgement) -> None:
    """What is wrong comes with what to do about it; who is asked next has an address."""
    for one in found.findings:
        assert bool(one.action) == (one.level is not Level.OK)
    assert found.choices or found.findings
    for choice in found.choices:
        if choice.step is Step.ASK or "://" not in choice.file:
            IPv4Address(choice.server)
        assert choice.step is Step.ASK or choice.file


def offers(data: bytes) -> None:
    """Whatever answers, each firmware has a judgement, and every answer can be put in words.

    A piece is a byte that says who sends it, and a packet.
    """
    heard = []
    for piece in list(seeds.pieces(data))[:20]:
        try:
            heard.append(Offer(parse(piece[1:]), f"10.77.0.{piece[0] & 3}"))
        except (PacketError, IndexError):
            continue
    for firmware in Firmware:
        _check(judge(firmware, heard))
    for one in heard:
        assert all(name and text for name, text in in_words(one.packet))
        for firmware in Firmware:
            _check(judge_ack(firmware, one))


def files(data: bytes) -> None:
    """Whatever is fetched, it is read as a script and as a boot program."""
    script(data)
    nbp(data)


def script(data: bytes) -> None:
    """What a script names is found in it, each file once, with its digest in its URL."""
    text = data.decode("utf-8", "backslashreplace")
    for one in artifacts_of(text):
        assert one.name in ("kernel", "initrd", "root")
        assert one.url.endswith(f"/artifacts/sha256/{one.sha256}")
        assert len(one.sha256) == 64
        assert one.size >= 0
        assert one.sha256 in text
    found = generation_of(text)
    assert found in text
    assert not found or not any(char.isspace() for char in found)


def nbp(data: bytes) -> None:
    """A file is a program for one kind of firmware at most, and whoever looks says the same."""
    facts = inspect_nbp(data)
    assert str(facts).isprintable()
    takes = []
    for arch in NbpArch:
        try:
            check_program(data, arch)
        except InvalidInput:
            continue
        takes.append(arch)
    assert len(takes) <= 1
    if facts.arch in EFI:
        assert takes == [EFI[facts.arch]]
    elif facts.arch is ClientArch.BIOS and data[:2] != b"MZ":
        assert takes == [NbpArch.BIOS]


def _offer_seeds() -> list[bytes]:
    found = []
    for said in seeds.conversations():
        replies = [one for port, one in said if port in (68, 4011) and one[0] == 2]
        found.append(seeds.session(*(bytes((n & 3,)) + one for n, one in enumerate(replies))))
    return found


_PE = b"MZ" + bytes(58) + b"\x40\0\0\0PE\0\0\x64\x86" + bytes(86) + b"\x0a\0" + bytes(60)
_FEATURES = b"\xeb\x03\1\0\0\x13\1\1\x14\1\1\x24\1\1\x19\1\1"
_SCRIPT = (
    b"#!ipxe\n# web@1\nkernel --name kernel http://10.77.0.1:8080/artifacts/sha256/%b"
    b" bootserve.server=http://10.77.0.1:8080 bootserve.root=%b bootserve.root_size=4096"
    b" bootserve.generation=web@1\ninitrd http://10.77.0.1:8080/artifacts/sha256/%b\nboot\n"
    % (b"1" * 64, b"2" * 64, b"3" * 64)
)

TARGETS = {
    "probe-offers": Target(offers, _offer_seeds),
    "probe-files": Target(
        files,
        lambda: [_SCRIPT, b"#!ipxe\n# it waits\n", _PE,
                 _PE.replace(b"\x64\x86", b"\x64\xaa") + _FEATURES,
                 _PE + b"iPXE\0\x001.21.1+ (g1)\0" + _FEATURES + b"\xff",
                 b"\x55\xaaPXE->EB: UNDI code segment"],
    ),
}  # fmt: skip

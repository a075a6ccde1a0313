"""What the DHCP and TFTP servers see becomes phases, discovered machines and log lines."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import LogCapture

from bootserve import resources
from bootserve.core.discovery import DiscoveryFilter
from bootserve.core.exchanges import Exchanges
from bootserve.core.offer_forms import Kind
from bootserve.core.quirks import Advice
from bootserve.core.responder import Offered
from bootserve.core.scripts import TEMPLATES, ScriptRenderer
from bootserve.core.timeline import Timeline
from bootserve.model.boot import Phase
from bootserve.servers.boot.recorder import Recorder
from bootserve.servers.current import Current
from bootserve.servers.dhcp import DhcpEvent
from bootserve.servers.tftp import TftpEvent, TftpEventKind
from bootserve.service.calm import Calm
from bootserve.service.sightings import Sightings
from bootserve.store.journal import Journal
from bootserve.store.records import DiscoveredRecord
from bootserve.wire.pxe import ClientArch, FirmwareKind, PxeClient
from tests.support.states import MAC, generation, node, snapshot, state

STRANGER = "52:54:00:00:00:77"


class Scene:
    def __init__(self, folder: Path, *, register: bool) -> None:
        self.captured = LogCapture()
        log = structlog.wrap_logger(None, processors=[self.captured])
        self.journal = Journal(folder, max_bytes=1 << 20, clock=lambda: 1.0)
        calm = Calm(log)
        found = DiscoveryFilter(10)
        self.recorder = Recorder(
            self.journal, Timeline(Exchanges()), found, log, calm, lambda: None
        )
        shipped = resources.templates()
        scripts = {name: (shipped / f"{name}.ipxe.j2").read_text() for name in TEMPLATES}
        known = snapshot(state(node(role="compute"), pins="site web@1"), generation("web@1"))
        current = Current(known, ScriptRenderer(scripts))
        self.fetched: list[str] = []
        self.sightings = Sightings(
            current,
            self.recorder,
            log,
            calm,
            register=register,
            fetched=lambda address, _at: self.fetched.append(address),
        )

    async def counted(self, answers: int) -> None:
        """Wait until so many answers are counted, which a timer does."""
        async with asyncio.timeout(60):
            while self.recorder.counts[Phase.DHCP] < answers:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert self.recorder.counts[Phase.DHCP] == answers

    @property
    def lines(self) -> list[Any]:
        return self.captured.entries


def client(mac: str) -> PxeClient:
    return PxeClient(mac, FirmwareKind.PXE, ClientArch.EFI_X64, "PXEClient:Arch:00007", (7,))


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path, register=False)


async def test_an_offer_to_a_node_is_its_dhcp_phase(scene: Scene) -> None:
    scene.sightings.dhcp(DhcpEvent("offer nbp", 67, client=client(MAC), node="n1"))
    [line] = scene.lines
    assert (line["event"], line["node"], line["log_level"]) == ("dhcp", "n1", "info")
    assert line["detail"] == "offer nbp to pxe efi-x64"
    await scene.counted(1)


async def test_a_flood_of_answers_that_no_form_gave_is_some_lines_and_a_count(
    scene: Scene,
) -> None:
    """Whoever knows a node's MAC can ask in its name in ever new words."""
    for number in range(5000):
        kind = "offer nbp" if number % 2 else "ack binl"
        scene.sightings.dhcp(DhcpEvent(kind, 67, client=client(MAC), node="n1"))
    assert len(scene.lines) == 20
    scene.sightings.dhcp(DhcpEvent("offer nbp", 67, client=client(STRANGER), node="n2"))
    await scene.counted(5001)
    assert (scene.lines[20]["unlogged"], len(scene.lines)) == (4801, 21)
    assert scene.sightings.counts == {"dhcp offer nbp": 2501, "dhcp ack binl": 2500}


@pytest.mark.parametrize(
    ("event", "level"),
    [
        (DhcpEvent("receive failed", 67, reason="EIO"), "error"),
        (DhcpEvent("send failed", 67, client=client(MAC), node="n1", reason="EPERM"), "error"),
        (DhcpEvent("no usable offers", 67, client=client(MAC), node="n1", reason="x"), "warning"),
        (DhcpEvent("ignored", 67, client=client(MAC), node="n1", reason="no NBP"), "warning"),
    ],
)
def test_what_goes_wrong_is_logged_and_is_no_phase(
    scene: Scene, event: DhcpEvent, level: str
) -> None:
    scene.sightings.dhcp(event)
    assert [line["log_level"] for line in scene.lines] == [level]
    assert event.reason in scene.lines[0]["detail"]
    assert scene.recorder.counts[Phase.DHCP] == 0


def test_ordinary_traffic_and_strangers_leave_no_line(scene: Scene) -> None:
    scene.sightings.dhcp(DhcpEvent("ignored", 67, reason="not a PXE client"))
    scene.sightings.dhcp(DhcpEvent("ignored", 67, client=client(STRANGER), reason="unknown"))
    assert (scene.lines, scene.journal.sequence) == ([], 0)


def test_strangers_that_find_no_usable_offers_are_some_lines_and_a_count(scene: Scene) -> None:
    for number in range(500):
        mac = f"52:54:00:01:{number >> 8:02x}:{number & 255:02x}"
        event = DhcpEvent("no usable offers", 67, client=client(mac), reason="again and again")
        scene.sightings.dhcp(event)
    assert len(scene.lines) == 20
    for _ in range(50):
        scene.sightings.dhcp(replace(event, client=client(MAC), node="n1"))
    assert [line["node"] for line in scene.lines[20:]] == ["n1"] * 50


async def test_offers_from_forms_are_counted_by_their_kind(scene: Scene) -> None:
    kind = Kind(client(MAC), Advice("pxe10"), has_shape=True, is_ipxe=False)
    for what in ("offer nbp", "offer script", "offer script"):
        detail = f"{what} to pxe efi-x64"
        scene.sightings.offered([Offered(b"", MAC, "n1", detail, kind, None, news=True)])
    assert scene.sightings.counts == {"dhcp offer nbp": 1, "dhcp offer script": 2}


async def test_under_register_a_stranger_is_journaled_with_what_it_told(tmp_path: Path) -> None:
    scene = Scene(tmp_path, register=True)
    for _ in range(3):
        scene.sightings.dhcp(DhcpEvent("offer nbp", 67, client=client(STRANGER)))
    scene.sightings.dhcp(DhcpEvent("offer nbp", 67, client=client(MAC), node="n1"))
    [(_, record)] = scene.journal.replay()
    assert isinstance(record, DiscoveredRecord)
    assert (record.mac, record.arch) == (STRANGER, "efi-x64")
    assert record.vendor_class == "PXEClient:Arch:00007"


def test_a_probe_leaves_no_trace(tmp_path: Path) -> None:
    scene = Scene(tmp_path, register=True)
    for mac, node_name in ((MAC, "n1"), (STRANGER, "")):
        probe = replace(client(mac), is_probe=True)
        for kind in ("offer nbp", "ignored"):
            scene.sightings.dhcp(DhcpEvent(kind, 67, client=probe, node=node_name))
    assert (scene.lines, scene.journal.sequence) == ([], 0)


async def test_offers_from_forms_are_phases_whose_repeats_are_counted(scene: Scene) -> None:
    def offered(number: int, *, news: bool) -> Offered:
        kind = Kind(client(MAC), Advice("pxe10"), has_shape=True, is_ipxe=False)
        mac = f"52:54:00:00:{number >> 8:02x}:{number & 255:02x}"
        return Offered(b"", mac, f"n{number}", "offer nbp to pxe efi-x64", kind, None, news)

    for again in range(3):
        for number in range(600):
            scene.sightings.offered([offered(number, news=not again)])
    shown = [line for line in scene.lines if "node" in line]
    assert len(shown) == 200
    assert (shown[0]["event"], shown[0]["node"]) == ("dhcp", "n0")
    assert (shown[0]["mac"], shown[0]["detail"]) == (MAC[:-2] + "00", "offer nbp to pxe efi-x64")
    while len(scene.lines) == 200:  # noqa: ASYNC110 (it comes by a timer)
        await asyncio.sleep(0.05)
    told = scene.lines[200]
    assert (told["event"], told["repeated"], told["unlogged"]) == ("dhcp", 1200, 400)
    assert scene.recorder.counts[Phase.DHCP] == 1800


def test_tftp(scene: Scene) -> None:
    address = ("10.0.0.9", 1234)
    for kind in TftpEventKind:
        scene.sightings.tftp(TftpEvent(kind, address, "ipxe.efi", bytes_sent=7, detail="why"))
    events = [(line["event"], line["detail"]) for line in scene.lines]
    assert ("tftp", "ipxe.efi, 7 bytes in 0.00 s") in events
    assert events.count(("tftp", "why")) == 3  # failed, refused, trouble
    lossy = TftpEvent(TftpEventKind.COMPLETED, address, "a.efi", 7, 1.0, retransmissions=3)
    scene.sightings.tftp(lossy)
    assert scene.lines[-1]["detail"] == "a.efi, 7 bytes in 1.00 s, 3 times sent again"
    assert scene.fetched == ["10.0.0.9"] * 2
    assert scene.recorder.counts[Phase.TFTP] == 2


def test_files_that_strangers_fetch_over_and_over_are_some_lines_and_a_count(scene: Scene) -> None:
    for kind in (TftpEventKind.REFUSED, TftpEventKind.COMPLETED):
        for number in range(300):
            address = (f"10.0.{number >> 8}.{number & 255}", 1234)
            scene.sightings.tftp(TftpEvent(kind, address, "ipxe.efi", bytes_sent=7, detail="why"))
        assert len(scene.lines) == 20, kind
        scene.captured.entries.clear()
    assert scene.recorder.counts[Phase.TFTP] == 300

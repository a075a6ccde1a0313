"""What comes before the script is told apart by start of the machine."""

from __future__ import annotations

import pytest

from bootserve.core.early import EarlyPhases
from bootserve.core.exchanges import Exchanges, Step
from bootserve.model.boot import Phase
from bootserve.wire.pxe import ClientArch, FirmwareKind, IpxeFeatures, PxeClient
from tests.support.states import MAC

HERE, OTHER = "10.0.0.9", "52:54:00:00:00:02"
FEATURES = IpxeFeatures(http=True, efi=True, version="1.0.0", names=("http", "efi"))


class Machine:
    """One NIC's messages, each answered."""

    def __init__(self, early: EarlyPhases, mac: str = MAC) -> None:
        self._exchanges = early.exchanges
        self._mac = mac

    def firmware(self, at: float, xid: int = 1) -> None:
        self._exchanges.offered(self._mac, xid, at, at, f"firmware {at:g}", known=True)

    def asks_for_the_file(self, at: float, xid: int, kind: FirmwareKind = FirmwareKind.PXE) -> None:
        client = PxeClient(self._mac, kind, ClientArch.EFI_X64, "PXEClient", (7,))
        self._exchanges.acknowledged(client, xid, at, at, f"ack {at:g}", known=True)

    def ipxe(self, at: float, xid: int = 2, features: IpxeFeatures | None = FEATURES) -> None:
        said = f"ipxe {at:g}"
        self._exchanges.ipxe_offered(self._mac, xid, at, at, said, features, known=True)


@pytest.fixture
def early() -> EarlyPhases:
    return EarlyPhases(Exchanges(limit=3), limit=3)


@pytest.fixture
def machine(early: EarlyPhases) -> Machine:
    return Machine(early)


def taken(early: EarlyPhases, now: float, mac: str = MAC) -> list[tuple[str, float]]:
    return [(step.phase.value, step.at) for step in early.take(mac, HERE, now)]


def test_one_start_from_firmware_to_script(early: EarlyPhases, machine: Machine) -> None:
    machine.firmware(100.0)
    machine.firmware(104.0)
    machine.asks_for_the_file(105.0, xid=9)
    early.fetched(Phase.TFTP, HERE, 106.0, "ipxe.efi")
    early.fetched(Phase.TFTP, HERE, 107.0, "another file")
    machine.ipxe(110.0)
    machine.ipxe(111.0)
    assert early.take(MAC, HERE, 112.0) == [
        Step(Phase.DHCP, 100.0, "firmware 100"),
        Step(Phase.TFTP, 106.0, "ipxe.efi"),
        Step(Phase.IPXE, 110.0, "1.0.0: http, efi"),
    ]
    assert early.take(MAC, HERE, 113.0) == []


def test_an_ipxe_in_the_nic_is_the_first_message_and_itself(
    early: EarlyPhases, machine: Machine
) -> None:
    machine.ipxe(100.0, features=None)
    steps = early.take(MAC, HERE, 101.0)
    assert [(step.phase, step.detail) for step in steps] == [
        (Phase.DHCP, "ipxe 100"),
        (Phase.IPXE, "no version: no features"),
    ]


@pytest.mark.parametrize(
    ("second", "xid", "gap"),
    [("firmware", 5, 3.0), ("firmware", 1, 50.0), ("ipxe after ipxe", 5, 3.0)],
)
def test_a_machine_that_starts_over_begins_another_trace(
    early: EarlyPhases, machine: Machine, second: str, xid: int, gap: float
) -> None:
    if second == "firmware":
        machine.firmware(100.0)
        early.fetched(Phase.TFTP, HERE, 101.0, "old")
        machine.firmware(101.0 + gap, xid=xid)
        expected = [("dhcp", 101.0 + gap), ("tftp", 160.0)]
    else:
        machine.ipxe(100.0)
        early.fetched(Phase.TFTP, HERE, 101.0, "old")
        machine.ipxe(101.0 + gap, xid=xid)
        expected = [("dhcp", 101.0 + gap), ("ipxe", 101.0 + gap), ("tftp", 160.0)]
    early.fetched(Phase.TFTP, HERE, 160.0, "new")
    assert taken(early, 161.0) == expected


def test_a_reset_in_the_middle_of_ipxe_begins_another_trace(
    early: EarlyPhases, machine: Machine
) -> None:
    machine.firmware(100.0)
    machine.ipxe(105.0)
    machine.firmware(110.0)
    machine.ipxe(115.0)
    assert taken(early, 116.0) == [("dhcp", 110.0), ("ipxe", 115.0)]


def test_two_nics_at_once_do_not_mix(early: EarlyPhases, machine: Machine) -> None:
    second = Machine(early, OTHER)
    machine.firmware(100.0)
    second.firmware(101.0)
    machine.ipxe(102.0)
    second.ipxe(103.0)
    assert taken(early, 104.0, OTHER) == [("dhcp", 101.0), ("ipxe", 103.0)]
    assert taken(early, 104.0) == [("dhcp", 100.0), ("ipxe", 102.0)]


def test_what_is_long_past_belongs_to_no_boot(early: EarlyPhases, machine: Machine) -> None:
    machine.firmware(100.0)
    early.fetched(Phase.TFTP, HERE, 101.0, "old")
    assert taken(early, 300.0) == []


def test_memory_is_bounded_and_the_oldest_go(early: EarlyPhases) -> None:
    for number in range(1, 9):
        Machine(early, f"52:54:00:00:00:{number:02x}").firmware(100.0 + number)
        for again in range(10):
            early.fetched(Phase.TFTP, f"10.0.0.{number}", 100.0 + again, "")
    assert early.take("52:54:00:00:00:01", "10.0.0.1", 106.0) == []
    assert len(early.take("52:54:00:00:00:08", "10.0.0.8", 109.0)) == 2


def test_a_boot_whose_offer_came_before_a_restart_begins_with_the_acknowledgement(
    early: EarlyPhases, machine: Machine
) -> None:
    machine.asks_for_the_file(100.0, xid=9)
    assert early.take(MAC, HERE, 101.0) == [Step(Phase.DHCP, 100.0, "ack 100")]


def test_an_ipxe_that_is_acknowledged_is_one_that_runs(
    early: EarlyPhases, machine: Machine
) -> None:
    machine.firmware(100.0)
    machine.asks_for_the_file(101.0, xid=9, kind=FirmwareKind.IPXE)
    assert taken(early, 102.0) == [("dhcp", 100.0), ("ipxe", 101.0)]
    machine.asks_for_the_file(103.0, xid=9, kind=FirmwareKind.IPXE)
    assert taken(early, 104.0) == [("dhcp", 103.0), ("ipxe", 103.0)]

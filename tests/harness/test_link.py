"""The bad cable: the fates of frames, and real frames between two namespaces."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from vm_harness.errors import HarnessError
from vm_harness.lab import Lab
from vm_harness.link import Link, fill_in_checksums
from vm_harness.net import Namespace
from vm_harness.pump import Counts, Impairer, Impairment
from vm_harness.topology import DHCP_ADDRESS

from tests.support.netns import inside

CLIENT = "10.44.0.70"
FRAMES = [b"frame %d" % number for number in range(2000)]


def fates(**fields: Any) -> list[list[float]]:
    impairer = Impairer(Impairment(**fields))
    return [impairer.fate(frame, "station") for frame in FRAMES]


def test_without_an_impairment_every_frame_passes_at_once() -> None:
    assert Impairer(None).fate(b"x", "network") == [0.0]
    assert fates() == [[0.0]] * len(FRAMES)


def test_the_same_seed_gives_the_same_fates() -> None:
    assert fates(drop=0.1, duplicate=0.1, reorder=0.1, seed=3) == fates(
        drop=0.1, duplicate=0.1, reorder=0.1, seed=3
    )
    assert fates(drop=0.1, seed=3) != fates(drop=0.1, seed=4)


def test_shares_are_kept_and_do_not_shift_one_another() -> None:
    lost = {at for at, fate in enumerate(fates(drop=0.2)) if not fate}
    assert 300 < len(lost) < 500
    both = fates(drop=0.2, duplicate=0.2, reorder=0.2, held=1.0)
    assert {at for at, fate in enumerate(both) if not fate} == lost
    assert 250 < sum(len(fate) == 2 for fate in both) < 400
    assert 250 < sum(1.0 in fate for fate in both) < 400


def test_frames_that_hold_the_bytes_are_lost_one_way_alone() -> None:
    impairer = Impairer(Impairment(contains="0102 03", delay=0.5, towards="station"))
    assert impairer.fate(b"\0\1\2\3\4", "station") == []
    assert impairer.fate(b"\0\1\2\4", "station") == [0.5]
    assert impairer.fate(b"\0\1\2\3\4", "network") == [0.0]
    assert impairer.counts == Counts(frames=2, filtered=1)


@pytest.mark.parametrize(
    "bad",
    [{"drop": 1.1}, {"reorder": -0.1}, {"held": -1.0}, {"contains": "xy"}, {"towards": "up"}],
)
def test_what_is_no_impairment(bad: dict[str, Any]) -> None:
    with pytest.raises(HarnessError):
        Impairment(**bad)


class Ends:
    """A UDP socket on each side of the link."""

    def __init__(self, lab: Lab, client: Namespace) -> None:
        self.far = self._open(lab.network.dhcp.name, DHCP_ADDRESS)
        self.near = self._open(client.name, CLIENT)

    @staticmethod
    def _open(namespace: str, address: str) -> socket.socket:
        with inside(namespace):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((address, 7777))
        return sock

    def wait_open(self) -> None:
        """Send until something arrives, and then until nothing more does."""
        self.far.settimeout(0.2)
        deadline = time.monotonic() + 60
        while True:
            self.near.sendto(b"hello", (DHCP_ADDRESS, 7777))
            with contextlib.suppress(TimeoutError):
                self.far.recv(100)
                break
            assert time.monotonic() < deadline
        with contextlib.suppress(TimeoutError):
            while True:
                self.far.recv(100)

    def sends(self, count: int, expected: int = 0) -> list[bytes]:
        """What arrives of ``count`` datagrams that the client sends, in the order of arrival.

        Without ``expected``, what arrives before a second of silence.
        """
        self.far.settimeout(20.0 if expected else 1.0)
        for number in range(count):
            self.near.sendto(b"number %d" % number, (DHCP_ADDRESS, 7777))
        got: list[bytes] = []
        with contextlib.suppress(TimeoutError):
            while not expected or len(got) < expected:
                got.append(self.far.recv(100))
        return got


@pytest.fixture(scope="module")
def ends(lab: Lab) -> Iterator[Ends]:
    client = lab.client("bad", CLIENT)
    made = Ends(lab, client)
    fill_in_checksums(client)
    yield made
    made.near.close()
    made.far.close()


@pytest.mark.netns
def test_real_frames_are_filtered_doubled_lost_and_reordered(lab: Lab, ends: Ends) -> None:
    sent = [b"number %d" % number for number in range(40)]
    assert ends.sends(2, 2) == sent[:2]
    with Link(lab.network.switch, "0-bad", log=lab.directory / "link.log") as link:
        ends.wait_open()
        assert ends.sends(40, 40) == sent
        link.set(Impairment(contains=b"number 1".hex(), towards="network"))
        assert ends.sends(3, 2) == [b"number 0", b"number 2"]
        assert link.set(Impairment(duplicate=1.0)).filtered == 1
        assert ends.sends(2, 4) == [sent[0], sent[0], sent[1], sent[1]]
        link.set(Impairment(drop=0.5, seed=1))
        got = ends.sends(40)
        assert 5 < len(got) < 35
        counts = link.set(Impairment(reorder=0.3, held=0.2, seed=1))
        assert counts.dropped >= 40 - len(got)
        got = ends.sends(40, 40)
        assert got != sent
        assert sorted(got) == sorted(sent)
        link.set(None)
        assert ends.sends(40, 40) == sent
    assert ends.sends(2, 2) == sent[:2]
    assert "l-0-bad" not in lab.network.switch.ip("link", "show")


@pytest.mark.netns
def test_a_link_that_cannot_be_made_leaves_the_switch_as_it_was(
    lab: Lab, ends: Ends, tmp_path: Path
) -> None:
    with pytest.raises(HarnessError):
        Link(lab.network.switch, "nothing", log=tmp_path / "log")
    assert ends.sends(1, 1) == [b"number 0"]

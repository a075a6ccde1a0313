"""Real clients fetch over a link that loses, doubles and reorders: they get the file, or say why.

The links are seeded. A client's timing is not, so a frame that is lost in one run may be another
one in the next: what is asserted holds for every order.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from vm_harness.lab import Lab
from vm_harness.link import Link, fill_in_checksums
from vm_harness.net import Namespace
from vm_harness.pump import Counts, Impairment
from vm_harness.server import BootServer

from tests.support.api import Admin
from tests.support.transfers import PROGRAMS, Fetch, TftpEnd, tftp_ends

pytestmark = [pytest.mark.netns, pytest.mark.timeout(900)]

RATES = (0.01, 0.05, 0.2)
CLEAR = (
    "the last block was never acknowledged",
    "the client fell silent",
    "the client's port is closed",
)
"""What the server says of a transfer that did not end well, beside that it never began."""
LATE_COPY = "the client never answered"
SILENCE = 40.0
"""Seconds after which the server has given up every client that says nothing."""
MEMORY = 32 << 20
"""Bytes by which serving these files may raise the server's memory."""


@dataclass(frozen=True)
class Sizes:
    """Bytes of the files (of NBPs at each rate of loss), and the seconds that a client has."""

    nbps: tuple[int, int, int]
    small_nbps: tuple[int, int, int]
    artifact: int
    seconds: int


# so many blocks that some are lost, and so few that the waits for those stay short
QUICK = Sizes((500_000, 200_000, 12_000), (40_000, 20_000, 4_000), 300_000, 120)
WHOLE = Sizes((500_000,) * 3, (60_000,) * 3, 8_000_000, 300)


@dataclass
class Side:
    """One client behind its own bad link, and the names of its NBPs."""

    rate: float
    address: str
    namespace: Namespace
    link: Link
    nbp: str
    small_nbp: str
    fetches: list[Fetch] = field(default_factory=list)
    frames: Counts = field(default_factory=Counts)


class Field:
    """A server with an artifact and two NBPs for each rate of loss, and a client for each."""

    def __init__(self, lab: Lab, sizes: Sizes, stack: ExitStack, folder: Path) -> None:
        self.lab, self.sizes, self.folder = lab, sizes, folder
        self.files = {
            f"{name}{number}.efi": random.Random(number).randbytes(size)
            for name, of_rates in (("ipxe", sizes.nbps), ("snponly", sizes.small_nbps))
            for number, size in enumerate(of_rates)
        }
        nbps = folder / "nbps"
        nbps.mkdir()
        for name, content in self.files.items():
            (nbps / name).write_bytes(content)
        self.server: BootServer = lab.bootserve(arguments=["--nbp-dir", str(nbps)]).start()
        root = random.Random(3).randbytes(sizes.artifact)
        self.artifact = f"/artifacts/sha256/{Admin(self.server.state_dir).upload(root).sha256}"
        self.files[self.artifact] = root
        self.sides = [self._side(number, rate, stack) for number, rate in enumerate(RATES)]

    def _side(self, number: int, rate: float, stack: ExitStack) -> Side:
        address = f"10.44.0.{60 + number}"
        namespace = self.lab.client(f"far{number}", address)
        fill_in_checksums(namespace)
        log = self.folder / f"link{number}.log"
        link = stack.enter_context(Link(self.lab.network.switch, f"0-far{number}", log=log))
        link.set(Impairment(drop=rate, duplicate=0.02, reorder=0.05, seed=number))
        return Side(rate, address, namespace, link, f"ipxe{number}.efi", f"snponly{number}.efi")

    def fetch_all(self, stack: ExitStack) -> None:
        """Let every program fetch behind every link, all at the same time; then mend the links."""
        self.start(stack)
        self.wait()
        for side in self.sides:
            side.frames = side.link.set(None)

    def start(self, stack: ExitStack) -> None:
        """Begin what :meth:`fetch_all` does."""
        for side in self.sides:
            folder = self.folder / side.namespace.name
            folder.mkdir()
            for program in PROGRAMS:
                name = self.artifact
                if "tftp" in program:
                    name = side.small_nbp if program == "tftp-hpa" else side.nbp
                one = Fetch(side.namespace, program, name, folder, self.sizes.seconds)
                stack.callback(one.end)
                side.fetches.append(one)

    def wait(self) -> None:
        """Wait until every program has ended."""
        waiting = [one for side in self.sides for one in side.fetches]
        while waiting:
            waiting = [one for one in waiting if not one.is_over()]
            time.sleep(0.05)

    def memory(self) -> int:
        """Bytes (PSS) of the server's processes."""
        return sum(_pss(pid) for pid in self.lab.network.server.pids())

    def connections(self) -> list[str]:
        """The server's HTTP connections that are not over."""
        said = self.lab.network.server.run(["ss", "-Htn", "state", "established"])
        return [line for line in said.splitlines() if ":8080" in line]

    def ends(self, side: Side) -> list[TftpEnd]:
        return [end for end in tftp_ends(self.server.log_text()) if end.address == side.address]

    def segments_sent_again(self) -> int:
        """How many TCP segments the server's machine has sent again."""
        name, value = self.lab.network.server.run(["nstat", "-asz", "TcpRetransSegs"]).split()[1:3]
        assert name == "TcpRetransSegs"
        return int(value)


def _pss(pid: int) -> int:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(rollup.split("\nPss:", 1)[1].split()[0]) << 10


def judge(scene: Field, side: Side, stopping: str) -> None:
    """The link lost frames, TFTP's too, and each fetch came to an end that both sides can tell."""
    ends = scene.ends(side)
    assert side.frames.dropped > 0
    assert any(end.sent_again or end.detail for end in ends), f"no loss at {side.rate:.0%}"
    for fetch in side.fetches:
        whole = fetch.status == 0 and fetch.has(scene.files[fetch.file])
        where = f"{fetch.program} at {side.rate:.0%}"
        assert not fetch.was_killed, f"{where}: no end and no error in {fetch.seconds:.0f} s"
        assert whole or (fetch.status != 0 and fetch.said), f"{where}: a wrong file and no error"
        # atftp aborts at the second copy of an OACK that the link has doubled, at any rate of loss
        may_fail = side.rate > 0.05 and fetch.program != "curl http"
        may_fail = may_fail or fetch.program.startswith("atftp")
        assert whole or may_fail, f"{where}: {fetch.said}"
    for name in (side.nbp, side.small_nbp):
        asked = [one for one in side.fetches if one.file == name]
        details = [end.detail for end in ends if end.file == name]
        assert len(details) >= len(asked), f"{name} at {side.rate:.0%}: {details}"
        for detail in details:
            told = detail.startswith("the client ended it: ")
            assert told or detail in ("", *CLEAR, LATE_COPY, stopping), details


def table(scene: Field) -> str:
    """What was measured, a line for each program and rate."""
    lines = ["loss  program              bytes   seconds      kB/s  end"]
    for side in scene.sides:
        for one in side.fetches:
            size = len(scene.files[one.file])
            rate = size / one.seconds / 1000
            end = (one.said or f"status {one.status}") if one.status else "complete"
            end = "killed" if one.was_killed else end
            figures = f"{size:8}  {one.seconds:8.2f}  {rate:8.1f}"
            lines.append(f"{side.rate:4.0%}  {one.program:18} {figures}  {end}")
        again = sum(end.sent_again for end in scene.ends(side))
        lines.append(f"{side.rate:4.0%}  {again} TFTP retransmissions; frames: {side.frames}")
    return "\n".join([*lines, f"{scene.segments_sent_again()} TCP segments sent again, all rates"])


def wait_for_connections(scene: Field, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while left := scene.connections():
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A lab for each test, since each has its own server and clients."""
    with Lab.create() as made:
        yield made


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


def test_every_client_gets_its_file_or_is_told_why(
    lab: Lab, stack: ExitStack, tmp_path: Path, tell: Callable[[str], None]
) -> None:
    scene = Field(lab, QUICK, stack, tmp_path)
    scene.fetch_all(stack)
    tell(table(scene))
    wait_for_connections(scene, 60)
    scene.server.stop()
    for side in scene.sides:
        # a client whose last ACK was lost has its file, and the server waits for that ACK still
        judge(scene, side, stopping="the server is stopping")


@pytest.mark.matrix
def test_whole_nbps_and_a_root_and_nothing_is_left_of_them(
    lab: Lab, stack: ExitStack, tmp_path: Path, tell: Callable[[str], None]
) -> None:
    scene = Field(lab, WHOLE, stack, tmp_path)
    before = scene.memory()
    scene.fetch_all(stack)
    tell(table(scene))
    wait_for_connections(scene, 200)
    time.sleep(SILENCE)
    grown = scene.memory() - before
    tell(f"the server's memory grew by {grown >> 10} KiB")
    assert grown < MEMORY
    scene.server.stop()
    for side in scene.sides:
        judge(scene, side, stopping="")


@pytest.mark.matrix
def test_a_link_that_goes_dead_ends_every_transfer_with_an_error(
    lab: Lab, stack: ExitStack, tmp_path: Path, tell: Callable[[str], None]
) -> None:
    scene = Field(lab, Sizes((4_000_000,) * 3, (1_000_000,) * 3, 100_000_000, 60), stack, tmp_path)
    scene.start(stack)
    # atftp, which takes a doubled OACK for the end, may be over before anything came
    near = [fetch for side in scene.sides[:2] for fetch in side.fetches]
    while not all(fetch.began() or fetch.is_over() for fetch in near):
        time.sleep(0.05)
    under_way = [fetch for fetch in near if not fetch.is_over()]
    assert len(under_way) >= 7
    for side in scene.sides:
        side.link.set(Impairment(drop=1.0))
    scene.wait()
    for fetch in (fetch for side in scene.sides for fetch in side.fetches):
        assert fetch.status != 0, fetch.program
        assert not fetch.was_killed, f"{fetch.program}: no error in {fetch.seconds:.0f} s"
        assert fetch.said, fetch.program
    wait_for_connections(scene, 200)
    log = scene.server.log_text()
    assert log.count('"stalled"') >= 4
    silent = [end for side in scene.sides[:2] for end in scene.ends(side)]
    details = [end.detail for end in silent]
    assert details.count("the client fell silent") == sum(one.tftp for one in under_way), details
    scene.server.stop()
    assert "the server is stopping" not in scene.server.log_text()

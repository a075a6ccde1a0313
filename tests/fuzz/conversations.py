"""What is fuzzed of the services that remember: packets of several clients, one after the other."""

from __future__ import annotations

from collections.abc import Sequence

from bootserve.core.exchanges import Exchanges
from bootserve.core.offers import Ignored, OfferSettings, OfferTarget
from bootserve.core.quirks import Quirk, QuirkTable
from bootserve.core.responder import Answer, Offered, Responder
from bootserve.core.shapes import ShapeBook
from bootserve.errors import NotFound
from bootserve.servers.tftp_engine import REQUESTS, Outgoing, TftpEngine
from bootserve.servers.tftp_events import Client, TftpEvent, TftpEventKind
from bootserve.wire import tftp_packets
from bootserve.wire.pxe import ClientArch
from bootserve.wire.tftp_options import Limits
from tests.fuzz import seeds
from tests.fuzz.target import Target, joined

__all__ = ["TARGETS"]

MACHINES = [bytes.fromhex(mac) for mac in ("525400000001", "02aabb0000a3", "b827eb000004")]
NODES = {
    MACHINES[0].hex(":"): OfferTarget("n1"),
    MACHINES[1].hex(":"): OfferTarget("n2", "own.efi"),
}
QUIRKS = QuirkTable(
    [
        Quirk("virtio", "s", bus_id="011af41000", nbp="snponly.efi"),
        Quirk("oui", "s", ouis=("02:aa:bb",), shape="binl"),
    ],
    "pxe10",
)
OFFERS = OfferSettings(
    "10.77.0.1",
    "http://10.77.0.1:8080",
    {arch: f"{arch.value}.efi" for arch in ClientArch},
    answer_unknown=True,
)
PAUSES = (0.0, 4.0, 8.0, 100.0)
BINL, AGAIN = 16, b""


class Memory:
    """What a server keeps of its clients."""

    def __init__(self) -> None:
        self.book = ShapeBook(QUIRKS)
        self.exchanges = Exchanges()
        self.learned: list[object] = []

    def responder(self) -> Responder:
        return Responder(
            OFFERS,
            NODES.get,
            book=self.book,
            exchanges=self.exchanges,
            on_learned=lambda *what: self.learned.append(what),
            on_told=lambda *what: self.learned.append(what),
        )


def _said(answer: Offered | Answer) -> tuple[object, ...]:
    if isinstance(answer, Offered):
        kind = answer.what.partition(" to ")[0]
        return answer.data, kind, answer.node, answer.client.mac, answer.found, False
    outcome, mac = answer.outcome, ""
    if outcome.client:
        mac = outcome.client.mac
    if isinstance(outcome, Ignored):
        return b"", outcome.reason, outcome.node, mac, answer.found, answer.accepted
    return outcome.data, outcome.kind, outcome.node, mac, answer.found, answer.accepted


def dhcp_service(data: bytes) -> None:
    """Whoever came before, each answer is the one that a server without forms gives.

    A piece is a byte that says who sends it when to which port, and a packet; with none it is the
    last packet, from that machine.
    """
    kept, decided = Memory(), Memory()
    with_forms, now, packet = kept.responder(), 1000.0, b""
    for piece in list(seeds.pieces(data))[:60]:
        if not piece:
            continue
        how, packet = piece[0], piece[1:] or packet
        now += PAUSES[how >> 2 & 3]
        if (how & 3) < len(MACHINES) and len(packet) >= 34:
            packet = packet.replace(packet[28:34], MACHINES[how & 3])
        port = 4011 if how & BINL else 67
        without = decided.responder()  # made anew: it has nothing to go by
        assert _said(with_forms.answer(packet, port, now, now)) == _said(
            without.answer(packet, port, now, now)
        )
    assert kept.learned == decided.learned
    assert kept.book.bus_ids == decided.book.bus_ids
    assert {*kept.book.learned} | {*kept.book.bus_ids} <= {*NODES}


def _dhcp_seeds() -> list[bytes]:
    found = []
    for said in seeds.conversations():
        asked = [(port, one) for port, one in said if port in (67, 4011) and one[0] == 1]
        if not asked:  # what was captured of TFTP
            continue
        own = [bytes((3 | 4 | (BINL if port == 4011 else 0),)) + one for port, one in asked]
        found.append(seeds.session(*own))
        first = asked[0][1]
        found.append(seeds.session(*(bytes((n,)) + first for n in (0, 5, 10)), b"\0", b"\4", b"\1"))
        found.append(seeds.session(*(bytes((n,)) + one for n in (8, 13, 8) for _, one in asked)))
    return found


FILES = {"ipxe.efi": bytes(range(256)) * 300, "small": b"some", "slow": bytes(900)}
CLIENTS: list[Client] = [("10.77.0.2", 2000), ("10.77.0.2", 2001), ("10.77.0.3", 2000)]
NEWCOMER: Client = ("10.77.0.9", 2000)
MOST_TRANSFERS, UNANSWERED = 2, 3
TIMER, CUT, FORGED = 4, 8, 16


class Network:
    """A TFTP service without its socket, and what must be true of all that it sends."""

    def __init__(self) -> None:
        self.now = 0.0
        self.known = {"ipxe.efi", "small"}
        self.events: list[TftpEvent] = []
        self.engine = TftpEngine(
            lookup=self.find,
            on_event=self.events.append,
            limits=Limits(),
            max_transfers=MOST_TRANSFERS,
        )
        self._sent = dict.fromkeys({address for address, _ in CLIENTS}, 0)
        self._answered: set[str] = set()

    def find(self, name: str) -> bytes | None:
        if name not in FILES:
            raise NotFound("no such file")
        return FILES[name] if name in self.known else None

    def check(self, out: Sequence[Outgoing]) -> None:
        """What goes out is the file's, and little of it to who did not answer."""
        under_way = {one: self.engine.transfer(one) for one in CLIENTS}
        going = {one for one, transfer in under_way.items() if transfer and transfer.answered}
        done = {one.client for one in self.events if one.kind in ANSWERED}
        self._answered |= {address for address, _ in going | done}
        for datagram, client, port in out:
            packet = tftp_packets.parse(joined(datagram))
            if isinstance(packet, tftp_packets.Data):
                transfer = self.engine.transfer(client)
                assert transfer is not None
                assert port == self.engine.port(client)
                at = (packet.block - 1) * transfer.terms.blksize
                content = transfer.blocks.content
                assert packet.payload == content[at : at + transfer.terms.blksize]
            self._sent[client[0]] += 1
        assert len(self.engine) <= MOST_TRANSFERS
        sent = [count for one, count in self._sent.items() if one not in self._answered]
        assert all(count <= UNANSWERED for count in sent)

    def end(self) -> None:
        """Every transfer has one end, and who comes then is served."""
        self.check(self.engine.close(self.now))
        assert len(self.engine) == 0
        ends = [one for one in self.events if one.kind in ENDS]
        begun = [one.client for one in self.events if one.kind is TftpEventKind.STARTED]
        assert sorted(begun) == sorted(one.client for one in ends)
        whole = [one for one in ends if one.kind is TftpEventKind.COMPLETED]
        assert all(one.bytes_sent in map(len, FILES.values()) for one in whole)
        [(datagram, client, port)] = self.engine.receive(_RRQ, NEWCOMER, REQUESTS, self.now)
        assert (client, port) == (NEWCOMER, self.engine.port(NEWCOMER))
        assert joined(datagram) == b"\0\3\0\1" + FILES["ipxe.efi"][:512]


ANSWERED = {TftpEventKind.COMPLETED, TftpEventKind.PROBED}
"""Ends that a client's word brought: a last acknowledgement, or leave after the file's size."""
ENDS = {*ANSWERED, TftpEventKind.FAILED}


def tftp_service(data: bytes) -> None:
    """Three clients on two addresses, and the clock: the file's bytes, and no more than is due.

    A piece is a byte that says whose packet it is or that time passes, and the packet.
    """
    network = Network()
    engine = network.engine
    for piece in list(seeds.pieces(data))[:100]:
        if not piece:  # the file that some wait for is there
            network.known.add("slow")
            network.check(engine.resume("slow", network.now))
        elif piece[0] & TIMER:
            network.now += 1.0
            network.check(engine.handle_timer(network.now))
        elif piece[0] & CUT:
            engine.abort(CLIENTS[piece[0] % len(CLIENTS)], "unreachable", network.now)
        else:
            network.now += 0.01
            client = CLIENTS[piece[0] % len(CLIENTS)]
            # A request goes where requests go, and a client's other packets where its file came
            # from, unless it is a forger's, who has to guess.
            forged, request = piece[0] & FORGED, piece[1:3] in (b"\0\1", b"\0\2")
            port = REQUESTS if request else engine.port(client)
            network.check(engine.receive(piece[1:], client, port + bool(forged), network.now))
    network.end()


_RRQ = b"\0\1ipxe.efi\0octet\0"
_OVMF = b"tsize\x000\0blksize\x001468\0windowsize\x004\0"


def _acks(who: bytes, count: int, step: int = 1) -> list[bytes]:
    return [who + b"\0\4" + (step * block).to_bytes(2, "big") for block in range(count)]


def _tftp_seeds() -> list[bytes]:
    a, b, c, tick = b"\0", b"\1", b"\2", bytes((TIMER,))
    slow, small = _RRQ.replace(b"ipxe.efi", b"slow"), _RRQ.replace(b"ipxe.efi", b"small")
    return [
        seeds.session(a + _RRQ + _OVMF, a + b"\0\5\0\x08stop\0", a + _RRQ, *_acks(a, 6)[1:]),
        seeds.session(b + _RRQ + _OVMF[8:], *_acks(b, 15, 4), b + _RRQ),
        seeds.session(a + _RRQ, b + _RRQ, c + _RRQ, tick, tick, tick, tick, *_acks(c, 4)[1:]),
        seeds.session(a + slow, b + slow, b"", *_acks(a, 3)[1:], *_acks(b, 3)[1:]),
        seeds.session(a + small, *_acks(a, 2), b + small, c + small, bytes((CUT,)), tick),
        seeds.session(a + _RRQ, bytes((FORGED,)) + b"\0\4\0\1", b + _RRQ, *_acks(b, 4)[1:]),
        seeds.session(b + _RRQ, b + b"\0\4\0\1", bytes((FORGED,)) + b"\0\4\0\2", tick, a + _RRQ),
        seeds.session(a + b"\0\2x\0octet\0", a + _RRQ.replace(b"octet", b"mail"), a + b"\0\1"),
    ]


TARGETS = {
    "dhcp-service": Target(dhcp_service, _dhcp_seeds),
    "tftp-service": Target(tftp_service, _tftp_seeds),
}

"""Whatever an asking machine says, it gets an offer that a proxy may give, or none and a reason."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bootserve.core.offers import Destination, Ignored, OfferSettings, Reply, answer
from bootserve.wire.dhcp import DhcpPacket, build, parse
from tests.core.test_offers import BINL, CHADDR, OURS, SETTINGS, asked, known


def check_proxys(result: Reply | Ignored, packet: DhcpPacket, giaddr: bytes) -> None:
    """Check that ``result`` is a reply, and such as a proxy may give to ``packet``."""
    assert isinstance(result, Reply), result
    reply = parse(result.data)
    assert (reply.op, reply.xid, reply.yiaddr) == (2, packet.xid, bytes(4))
    assert (reply.siaddr, reply.options[54]) == (OURS, OURS)
    assert (reply.chaddr, reply.giaddr) == (CHADDR, giaddr)
    assert (result.destination is Destination.RELAY) == (giaddr != bytes(4))


RELAYS = st.sampled_from([bytes(4), bytes((10, 9, 0, 1)), bytes((192, 168, 1, 254))])
GIADDRS = RELAYS | st.binary(min_size=4, max_size=4)


@given(
    st.dictionaries(
        st.sampled_from([43, 53, 54, 60, 77, 82, 93, 94, 97, 175]), st.binary(max_size=300)
    ),
    st.sampled_from([b"\1", b"\3"]),
    st.sampled_from([67, 4011]),
    st.sampled_from([SETTINGS, BINL]),
    GIADDRS,
)
def test_whatever_is_asked_the_reply_is_a_proxys(
    options: dict[int, bytes], kind: bytes, port: int, settings: OfferSettings, giaddr: bytes
) -> None:
    packet = asked(options=options | {53: kind, 60: b"PXEClient"}, giaddr=giaddr)
    result = answer(build(packet), port=port, settings=settings, lookup=known)
    if isinstance(result, Ignored):
        assert result.reason
    else:
        check_proxys(result, packet, giaddr)


SPACES = st.dictionaries(
    st.integers(1, 254).filter(lambda code: code != 71), st.binary(max_size=9), max_size=5
).map(lambda space: b"".join(bytes((code, len(one))) + one for code, one in space.items()))
"""Options in an option (43, 175), each whole; 71 is the boot item, of a length of its own."""


@given(
    st.fixed_dictionaries(
        {},
        optional={
            43: SPACES,
            77: st.binary(max_size=60),
            82: st.binary(max_size=60),
            94: st.binary(max_size=60),
            175: SPACES,
        },
    ),
    st.sampled_from([SETTINGS, BINL]),
    RELAYS,
)
def test_a_node_that_asks_is_replied_to_whatever_it_says_besides(
    options: dict[int, bytes], settings: OfferSettings, giaddr: bytes
) -> None:
    packet = asked(options=options, giaddr=giaddr)
    result = answer(build(packet), port=67, settings=settings, lookup=known)
    check_proxys(result, packet, giaddr)

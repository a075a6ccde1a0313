"""Requests that wait for their file: in the engine, until the lookup knows it."""

from __future__ import annotations

from bootserve.servers.tftp_engine import REQUESTS, TftpEngine
from bootserve.servers.tftp_events import TftpEvent
from bootserve.wire.tftp_options import Limits
from bootserve.wire.tftp_packets import Ack, Data, Request, parse

CLIENT = ("192.0.2.7", 2070)


def test_requests_wait_while_their_file_is_looked_for() -> None:
    known: dict[str, bytes] = {}
    events: list[TftpEvent] = []
    engine = TftpEngine(
        lookup=known.get,
        on_event=events.append,
        limits=Limits(),
        max_transfers=3,
    )
    asked = Request("late").to_bytes()
    clients = [(f"192.0.2.{i}", 1024) for i in range(4)]
    for client in (*clients, clients[0]):
        assert engine.receive(asked, client, REQUESTS, 0.0) == ()
    assert (len(engine), events, engine.resume("other", 1.0)) == (0, [], [])
    known["late"] = b"here"
    answers = engine.resume("late", 1.0)
    # There was no room for the second, which is to ask again.
    assert [(parse(bytes(data)), client) for data, client, _ in answers] == [
        (Data(1, b"here"), client) for client in (clients[2], clients[3], clients[0])
    ]
    assert engine.resume("late", 2.0) == []


def test_requests_whose_answer_never_comes_keep_nobody_from_waiting() -> None:
    known: dict[str, bytes] = {}
    engine = TftpEngine(lookup=known.get, on_event=lambda _event: None, limits=Limits())
    for i in range(5000):
        client = (f"10.0.{i >> 8}.{i & 255}", 1024)
        assert engine.receive(Request(f"lost{i}").to_bytes(), client, REQUESTS, 0.0) == ()
    for port in range(3000):
        engine.receive(Request("late").to_bytes(), ("192.0.2.6", 1024 + port), REQUESTS, 0.1)
    assert engine.receive(Request("late").to_bytes(), CLIENT, REQUESTS, 0.2) == ()
    known["late"] = b"here"
    answered = [client for _, client, _ in engine.resume("late", 0.3)]
    assert (answered[-1], len(engine)) == (CLIENT, 1024 + 1)  # so many of one address, and one
    known["lost4999"] = known["lost0"] = b"here"
    assert engine.resume("lost0", 0.4) == []
    assert len(engine.resume("lost4999", 0.4)) == 1


def test_a_request_that_waited_for_too_long_is_not_answered() -> None:
    known: dict[str, bytes] = {}
    engine = TftpEngine(lookup=known.get, on_event=lambda _event: None, limits=Limits())
    engine.receive(Request("late").to_bytes(), CLIENT, REQUESTS, 0.0)
    engine.receive(Request("late").to_bytes(), ("192.0.2.8", 1024), REQUESTS, 5.0)
    known["late"] = b"here"
    assert [client for _, client, _ in engine.resume("late", 10.0)] == [("192.0.2.8", 1024)]


def test_of_those_that_wait_for_a_file_only_who_keeps_a_place_is_sent_it() -> None:
    known = {"large": bytes(2000)}
    engine = TftpEngine(
        lookup=known.get,
        on_event=lambda _: None,
        limits=Limits(),
        max_transfers=2,
    )
    live, first, last = [(f"192.0.2.{i}", 1024) for i in range(3)]
    engine.receive(Request("large").to_bytes(), live, REQUESTS, 0.0)
    engine.receive(Ack(1).to_bytes(), live, 1, 0.0)
    for client in (first, last):
        assert not engine.receive(Request("slow").to_bytes(), client, REQUESTS, 0.0)
    known["slow"] = b"content"
    assert [to for _, to, _ in engine.resume("slow", 0.1)] == [last]
    assert engine.transfer(first) is None
    [(datagram, to, _)] = engine.receive(Request("slow").to_bytes(), first, REQUESTS, 4.0)
    assert (parse(bytes(datagram)), to) == (Data(1, b"content"), first)

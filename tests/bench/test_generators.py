"""The load generators count what a server really did, and see what it did wrong."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from vm_harness.errors import HarnessError

from bench.fleet import mac_of
from bench.native import arguments
from bench.network import Pair, sweep
from bootserve.core.scripts import script_url
from tests.support import odd_server

pytestmark = pytest.mark.netns
SIZE = 30_001


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    sweep()
    pair = Pair("test")
    try:
        yield pair.create()
    finally:
        pair.remove()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bench") / "file"
    path.write_bytes(b"bootserve.boot=" + os.urandom(SIZE - 15).replace(b"\0", b"x"))
    return path


def drive(pair: Pair, generator: str, /, **values: object) -> dict[str, float]:
    said = pair.drive(generator, before=[], timeout=60, **values)
    return {key: float(value) for key, value in said.items() if key != "error"}


def fetch(pair: Pair, file: Path, **values: object) -> dict[str, float]:
    given = {"name": "x", "file": file, "clients": 5, "seconds": 0.3, "resend": 5}
    return drive(pair, "tftpload", **{**given, **values})


def test_tftp_transfers_are_counted(pair: Pair, file: Path) -> None:
    with odd_server.tftp(pair.server, "none", file.read_bytes()) as counts:
        said = fetch(pair, file)
    assert said["transfers"] == counts["transfers"] >= 5
    assert said["bytes"] == said["transfers"] * SIZE
    assert 0 < said["in_time"] <= said["bytes"]
    assert said["failed"] == said["drops"] == 0


def test_a_transfer_that_loses_packets_is_completed(pair: Pair, file: Path) -> None:
    with odd_server.tftp(pair.server, "lossy", file.read_bytes()):
        said = fetch(pair, file, resend=0.05, patience=60)
    assert said["transfers"] >= 5
    assert said["resent"] > 0
    assert said["failed"] == 0


@pytest.mark.parametrize(
    ("fault", "kind"), [("flip", "wrong"), ("short", "wrong"), ("refuse", "refused")]
)
def test_a_wrong_transfer_is_a_failed_one(pair: Pair, file: Path, fault: str, kind: str) -> None:
    with odd_server.tftp(pair.server, fault, file.read_bytes()):
        said = fetch(pair, file)
    assert said["transfers"] == 0
    assert said[kind] == said["failed"] >= 5


def test_a_server_that_is_silent_has_failed(pair: Pair, file: Path) -> None:
    with odd_server.tftp(pair.server, "deaf", file.read_bytes()):
        said = fetch(pair, file, resend=0.05, patience=2, seconds=0.1)
    assert said["transfers"] == 0
    assert said["timed_out"] == said["failed"] == 5
    assert said["resent"] == 10


def test_windows_in_large_frames_are_read(pair: Pair, file: Path) -> None:
    log = file.with_name("responder.log")
    argv = arguments("responder", {"mode": "tftp", "file": file, "batch": 64})
    with log.open("wb") as output:
        process = pair.server.spawn(argv, log=output)
    try:
        while not pair.server.run(["ss", "-Hlun", "sport = :69"]).strip():
            assert process.poll() is None, log.read_text()
        said = fetch(pair, file, windowsize=16)
    finally:
        process.terminate()
        process.wait(10)
    assert said["windowsize"] == 16
    assert said["transfers"] >= 5
    assert said["failed"] == said["drops"] == said["resent"] == 0


def test_offers_are_counted(pair: Pair) -> None:
    with odd_server.dhcp(pair.server, "none") as counts:
        said = drive(pair, "dhcpload", nodes=7, window=5, seconds=0.3, patience=30)
    assert 0 < counts["offers"] - said["offers"] <= 5  # those under way at the end
    assert said["wrong"] == said["lost"] == said["stray"] == 0
    assert counts["52:54:00:00:00:06"] > 0
    assert "52:54:00:00:00:07" not in counts


@pytest.mark.parametrize(("fault", "kind"), [("ack", "wrong"), ("mac", "wrong"), ("xid", "stray")])
def test_a_wrong_offer_is_none(pair: Pair, fault: str, kind: str) -> None:
    with odd_server.dhcp(pair.server, fault):
        said = drive(pair, "dhcpload", nodes=7, window=5, seconds=0.2, patience=30)
    assert said["offers"] == 0
    assert said[kind] >= 5


def test_a_discover_without_an_answer_is_lost_and_replaced(pair: Pair) -> None:
    with odd_server.dhcp(pair.server, "deaf") as counts:
        said = drive(pair, "dhcpload", nodes=7, window=1, seconds=1.2, patience=0.5)
    assert counts["discovers"] == counts["offers"] + 1
    assert said["lost"] >= 1
    assert said["offers"] > 2


def get(pair: Pair, **values: object) -> dict[str, float]:
    given = {"mode": "closed", "path": "/boot/%s.ipxe", "nodes": 7, "conns": 3, "seconds": 0.3}
    return drive(pair, "httpload", **{**given, "expect": "bootserve.boot=", **values})


def test_answers_are_counted_and_no_address_asks_twice_in_a_row(pair: Pair, file: Path) -> None:
    with odd_server.http(pair.server, "none", file.read_bytes()) as counts:
        said = get(pair, nodes=700, conns=8)
    assert said["answers"] == counts["answers"] > 0
    assert said["bytes"] == said["answers"] * SIZE
    assert said["failed"] == counts["same address twice"] == 0


def test_scripts_are_asked_for_by_the_url_that_an_offer_gives(pair: Pair, file: Path) -> None:
    with odd_server.http(pair.server, "none", file.read_bytes()) as counts:
        said = get(pair, nodes=300)
    asked = {name: times for name, times in counts.items() if name.startswith("/")}
    assert sum(asked.values()) == said["answers"] > 0
    assert asked.keys() <= {script_url("", mac_of(number)) for number in range(300)}


@pytest.mark.parametrize("fault", ["status", "content", "cut"])
def test_a_wrong_answer_is_a_failed_one(pair: Pair, file: Path, fault: str) -> None:
    with odd_server.http(pair.server, fault, file.read_bytes()) as counts:
        said = get(pair)
    assert said["failed"] > 0
    assert said["failed"] + said["answers"] == counts["requests"]


def test_a_stall_counts_for_every_request_that_was_due_in_it(pair: Pair, file: Path) -> None:
    with odd_server.http(pair.server, "stall", file.read_bytes()):
        said = get(pair, mode="open", rate=100, conns=1, seconds=1)
    assert said["answers"] == 100
    assert said["max"] >= 0.5
    assert said["longest_gap"] >= 0.5
    assert said["p90"] >= 0.25  # half a second held up fifty requests, the last ones a little


def test_files_are_fetched_whole(pair: Pair, file: Path) -> None:
    with odd_server.http(pair.server, "none", file.read_bytes()) as counts:
        said = get(pair, mode="fetch", path="/file", bytes=SIZE, count=4, seconds=30)
    assert said["answers"] == counts["answers"] == 12
    assert said["bytes"] == 12 * SIZE


def test_a_file_of_another_length_is_a_failed_one(pair: Pair, file: Path) -> None:
    with odd_server.http(pair.server, "none", file.read_bytes()):
        said = get(pair, mode="fetch", path="/file", bytes=SIZE + 1, count=1)
    assert said["answers"] == 0
    assert said["failed"] > 0


def test_a_generator_says_what_is_missing(pair: Pair) -> None:
    with pytest.raises(HarnessError, match="say mode="):
        pair.drive("httpload", before=[], timeout=10)

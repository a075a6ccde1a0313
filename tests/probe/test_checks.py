"""What a probe says of what it fetches, from a server that misbehaves on demand."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from bootserve.core.firmware import Choice, Firmware, Step
from bootserve.core.offer_facts import Offer
from bootserve.core.script_facts import ScriptArtifact
from bootserve.errors import InvalidInput, Unavailable
from bootserve.model.finding import Finding, Level
from bootserve.probe import checks, fetch
from bootserve.probe.checks import check_artifact, check_nbp, check_script
from bootserve.probe.fetch import fetch_http, fetch_tftp
from bootserve.wire.dhcp import DhcpPacket

US = "127.0.0.1"
OFFER = Offer(DhcpPacket(2, 1, bytes(6)), US)
NBP = Path("/usr/lib/ipxe/snponly.efi").read_bytes()
ROOT = b"hsqs" + bytes(100_000)
DIGEST = hashlib.sha256(ROOT).hexdigest()
SCRIPT = f"""#!ipxe
kernel http://x/artifacts/sha256/{"0" * 64} bootserve.boot=BOOT bootserve.generation=web@1
"""


@dataclass
class Web:
    """A server on the loopback; what it answers can be set, and what it was asked is kept."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    ranges: bool = True
    asked: list[str] = field(default_factory=list)
    port: int = 0

    def url(self, path: str = "/f") -> str:
        return f"http://{US}:{self.port}{path}"


@pytest.fixture
def web() -> Iterator[Web]:
    web = Web()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            web.asked.append(f"{self.command} {self.path}")
            body, status, headers = web.body, web.status, dict(web.headers)
            wanted = self.headers.get("Range")
            if wanted and web.ranges and status == 200:
                stop = int(wanted.rpartition("-")[2]) + 1
                headers["Content-Range"] = f"bytes 0-{stop - 1}/{len(body)}"
                body, status = body[:stop], 206
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                if value:
                    self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer((US, 0), Handler)
    web.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield web
    server.shutdown()
    server.server_close()
    thread.join()


def load(file: str, server: str = US) -> Choice:
    return Choice(Step.LOAD, server, file, OFFER)


def only(findings: list[Finding], level: Level = Level.ERROR) -> str:
    (one,) = findings
    assert one.level is level, one
    assert bool(one.action) == (level is not Level.OK)
    return one.found


# --- NBPs by HTTP ------------------------------------------------------------------------------


def test_an_nbp_is_fetched_as_edk2_does(web: Web) -> None:
    web.body = NBP
    assert "iPXE for efi-x64" in only(
        check_nbp(Firmware.HTTP, load(web.url("/a.efi")), US), Level.OK
    )
    assert web.asked == ["HEAD /a.efi", "GET /a.efi"]


@pytest.mark.parametrize(
    ("path", "changes", "said"),
    [
        ("/a.efi", {"status": 404}, "the server answers 404"),
        ("/a.efi", {"status": 302, "headers": {"Location": "/b"}}, "the server answers 302"),
        ("/a.efi", {"headers": {"Content-Length": ""}}, "has no Content-Length"),
        ("/a.efi", {"headers": {"Content-Length": "many"}}, "bytes came of many"),
        ("/a", {"headers": {"Content-Type": "text/plain"}}, "is text/plain, which EDK2 does not"),
        ("/a.efi", {"body": Path("/usr/lib/ipxe/undionly.kpxe").read_bytes()}, "needs efi-x64"),
        ("/a.efi", {"body": NBP.replace(b"\x13\x01\x01", b"\x2a\x01\x01")}, "cannot fetch the"),
    ],
)
def test_an_nbp_that_edk2_does_not_boot(
    web: Web, path: str, changes: dict[str, Any], said: str
) -> None:
    web.body = NBP
    vars(web).update(changes)
    assert said in only(check_nbp(Firmware.HTTP, load(web.url(path)), US))


def test_an_nbp_that_is_no_program_is_doubted(web: Web) -> None:
    web.body = b"?" * 1000
    found = check_nbp(Firmware.HTTP, load(web.url("/a.efi")), US)
    assert "no boot program that is known here" in only(found, Level.WARNING)


# --- scripts -----------------------------------------------------------------------------------


def test_a_script_is_previewed(web: Web) -> None:
    web.body = SCRIPT.replace("BOOT", "preview").encode()
    findings, artifacts = check_script(load(web.url("/boot/x.ipxe")), US)
    assert only(findings, Level.OK).endswith("boots web@1")
    assert [one.name for one in artifacts] == ["kernel"]
    assert web.asked == ["GET /boot/x.ipxe?preview=1"]


def test_a_server_that_does_not_know_previews_is_noticed(web: Web) -> None:
    web.body = SCRIPT.replace("BOOT", "0123abcd").encode()
    findings, _ = check_script(load(web.url("/boot/x.ipxe?a=b")), US)
    assert "made boot 0123abcd for it" in findings[1].found
    assert web.asked == ["GET /boot/x.ipxe?a=b&preview=1"]


@pytest.mark.parametrize(
    ("changes", "said", "level"),
    [
        ({"status": 403, "body": b"no\nmore"}, "the server answers 403: no", Level.ERROR),
        ({"body": b"<html>"}, "is no iPXE script (it begins with '<html>')", Level.ERROR),
        ({"body": b"#!ipxe\n# node n1 holds: x\n"}, "node n1 holds: x", Level.WARNING),
        ({"body": b"#!ipxe\nshell"}, "boots no generation: ", Level.WARNING),
    ],
)
def test_what_is_no_script_of_a_boot(
    web: Web, changes: dict[str, Any], said: str, level: Level
) -> None:
    vars(web).update(changes)
    findings, artifacts = check_script(load(web.url()), US)
    assert said in only(findings, level)
    assert artifacts == ()


def test_a_script_by_tftp_is_not_ours() -> None:
    assert "no script of bootserve" in only(check_script(load("a.ipxe"), US)[0], Level.WARNING)


# --- artifacts ---------------------------------------------------------------------------------


def judged(
    web: Web, name: str = "root", *, full: bool = False, size: int = 0, **set: Any
) -> Finding:
    web.body, web.headers = ROOT, {"ETag": f'"{DIGEST}"'}
    vars(web).update(set)
    return check_artifact(ScriptArtifact(name, web.url(), DIGEST, size), US, full=full)


def test_artifacts_that_are_right(web: Web) -> None:
    part = judged(web, size=len(ROOT))
    assert part.level is Level.OK
    assert part.found.endswith("its first 65536 read; --full checks its digest")
    for whole in (judged(web, full=True), judged(web, "kernel")):
        assert (whole.level, whole.found[-19:]) == (Level.OK, "its digest is right")
    assert judged(web, ranges=False).level is Level.OK
    small = b"hsqs"
    sha256 = hashlib.sha256(small).hexdigest()
    web.body, web.headers, web.ranges = (
        small,
        {"ETag": sha256, "Content-Range": "bytes 0-3/4"},
        False,
    )
    web.status = 206  # a root that is smaller than what is read of it
    found = check_artifact(ScriptArtifact("root", web.url(), sha256, 4), US, full=False)
    assert found.found.endswith("its digest is right")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"status": 404}, "the server answers 404"),
        ({"headers": {"ETag": "other"}}, "its ETag is not its digest"),
        ({"size": 5}, "100004 bytes where the script says 5"),
        ({"body": b"\0" * len(ROOT)}, "it begins like no squashfs and no erofs"),
        ({"full": True, "body": ROOT[:-1] + b"?"}, "what came has the sha256 "),
        ({"name": "kernel", "body": ROOT + b"?"}, "what came has the sha256 "),
    ],
)
def test_artifacts_that_are_wrong(web: Web, changes: dict[str, Any], said: str) -> None:
    found = judged(web, **changes)
    assert (found.level, said in found.found) == (Level.ERROR, True), found


def test_an_initrd_that_is_too_large_is_left(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "MOST_ARTIFACT", 1000)
    found = judged(web, "initrd")
    assert (found.level, "more than is read here" in found.found) == (Level.WARNING, True)


# --- fetching ----------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["ftp://x/y", "http://", "http://[::1", "nothing"])
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(InvalidInput):
        fetch_http(url, address=US, limit=1)


def test_nobody_listens() -> None:
    with socket.socket() as closed:
        closed.bind((US, 0))
        url = f"http://{US}:{closed.getsockname()[1]}/"
        with pytest.raises(Unavailable, match="Connection refused"):
            fetch_http(url, address=US, limit=1)
    with pytest.raises(Unavailable, match="cannot be fetched"):
        fetch_http("http://192.0.2.1/", address="192.0.2.2", limit=1)  # not our address


def test_an_answer_that_never_ends(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    web.body = ROOT
    monkeypatch.setattr(fetch, "MOST_SECONDS", 0.0)
    with pytest.raises(Unavailable, match="takes too long"):
        fetch_http(web.url(), address=US, limit=1 << 20)


def test_tftp_without_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "SECONDS", 0.1)
    with pytest.raises(Unavailable, match=r"no TFTP server answers at|cannot be asked by TFTP"):
        fetch_tftp("127.0.0.99", "a", address=US, limit=1)

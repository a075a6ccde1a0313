"""Nodes' heartbeats: ``python -m bench.beats boot|beat FILE ADDRESS NODES RATE SECONDS``.

``boot`` has every node fetch its script and send its first heartbeat, and writes their boots to
FILE. ``beat`` sends heartbeats at fixed times, each on a connection of its own as a node's wget
does, and prints how long the answers took, as JSON.
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
import sys
import time
from pathlib import Path

from bench.fleet import mac_of
from bootserve.core.scripts import script_url

__all__ = ["main"]

SOURCE = "10.99.0.99"
SEAL = "5" * 64
DRIFT = b"total 1\nchanged file 0644 root:root 9 1.5 - /etc/motd//\n"
DRIFTED = 100
"""Each hundredth node is altered: its drift is known, and its digest comes with each heartbeat."""


def _token(number: int) -> str:
    return hashlib.sha256(b"token %d" % number).hexdigest()


def _heartbeat(address: str, number: int, boot: str, body: bytes = b"") -> bytes:
    drift = "" if number % DRIFTED else hashlib.sha256(DRIFT).hexdigest()
    said = f"generation=web@1&root={'2' * 64}&uptime=86400.5&time={time.time():.9f}"
    head = (
        f"POST /heartbeat/{boot}?{said}&baseline={SEAL}&drift={drift}&rebooting= HTTP/1.1\r\n"
        f"Host: {address}:8080\r\nUser-Agent: Wget\r\nConnection: close\r\n"
        f"Authorization: Bearer {_token(number)}\r\n"
        "Content-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _ask(address: str, request: bytes) -> bytes:
    with socket.create_connection((address, 8080), timeout=30, source_address=(SOURCE, 0)) as link:
        link.sendall(request)
        answer = b""
        while chunk := link.recv(65536):
            answer += chunk
    return answer


def _boot(address: str, number: int) -> str:
    path = script_url("", mac_of(number))
    head = f"GET {path} HTTP/1.1\r\nHost: {address}:8080\r\nConnection: close\r\n\r\n"
    found = re.search(rb"bootserve\.boot=([0-9a-f]{32})", _ask(address, head.encode()))
    if found is None:
        raise SystemExit(f"node {number} got no script")
    return found[1].decode()


def _boot_all(file: Path, address: str, nodes: int) -> None:
    boots = []
    for number in range(nodes):
        boots.append(_boot(address, number))
        body = b"" if number % DRIFTED else DRIFT
        if b" 200 " not in _ask(address, _heartbeat(address, number, boots[-1], body))[:16]:
            raise SystemExit(f"node {number}: its heartbeat is refused")
    file.write_text("\n".join(boots))


def _beat(file: Path, address: str, rate: float, seconds: float) -> dict[str, float]:
    boots = file.read_text().split()
    took, failed, began = [], 0, time.perf_counter()
    for count in range(round(rate * seconds)):
        due = began + count / rate
        time.sleep(max(0.0, due - time.perf_counter()))
        number = count * 37 % len(boots)
        answer = _ask(address, _heartbeat(address, number, boots[number]))
        failed += not answer.endswith(b"\r\n\r\ninterval=60\n")
        took.append(time.perf_counter() - due)
    took.sort()
    elapsed = time.perf_counter() - began
    return {
        "count": len(took),
        "failed": failed,
        "seconds": elapsed,
        "p50 ms": took[len(took) // 2] * 1e3,
        "p99 ms": took[len(took) * 99 // 100] * 1e3,
    }


def main() -> None:
    """Do what the command line says."""
    what, file, address, nodes, rate, seconds = sys.argv[1:]
    if what == "boot":
        _boot_all(Path(file), address, int(nodes))
    else:
        print(json.dumps(_beat(Path(file), address, float(rate), float(seconds))))


if __name__ == "__main__":
    main()

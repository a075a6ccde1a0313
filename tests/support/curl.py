"""curl in a namespace: the boot plane as a node sees it."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from vm_harness.net import Namespace

__all__ = ["Answer", "curl"]

BASE = "http://10.44.0.2:8080"


@dataclass(frozen=True)
class Answer:
    """An HTTP answer, its headers in lower case."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def text(self) -> str:
        return self.body.decode()


def curl(client: Namespace, path: str, *options: str, base: str = BASE) -> Answer:
    """Run curl with ``options`` on a path of the boot plane and return the answer."""
    with tempfile.TemporaryDirectory() as folder:
        head, body = Path(folder, "head"), Path(folder, "body")
        argv = ["curl", "-sS", "--path-as-is", "--max-time", "20", "-D", str(head)]
        argv += ["-o", str(body), *options, base + path]
        client.run(argv)
        lines = head.read_bytes().decode("latin-1").split("\r\n\r\n")[-2].split("\r\n")
        fields = (line.partition(":") for line in lines[1:])
        return Answer(
            int(lines[0].split()[1]),
            {name.lower(): value.strip() for name, _, value in fields},
            body.read_bytes() if body.exists() else b"",
        )

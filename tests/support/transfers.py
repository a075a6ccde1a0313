"""Client programs that fetch files over a link, and what a server's log says of how that ended."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from vm_harness.net import Namespace
from vm_harness.topology import SERVER_ADDRESS

__all__ = ["PROGRAMS", "Fetch", "TftpEnd", "tftp_ends"]

_TFTP = f"tftp://{SERVER_ADDRESS}/{{file}}"
_HTTP = f"http://{SERVER_ADDRESS}:8080{{file}}"

SILENCE = 30
"""Seconds without a byte after which a program that is watched for that is given up."""

PROGRAMS: Mapping[str, str] = {
    "curl tftp": f"curl -sS --tftp-blksize 1428 -m {{seconds}} -o {{copy}} {_TFTP}",
    "tftp-hpa": f"tftp -m binary {SERVER_ADDRESS} -c get {{file}} {{copy}}",
    "atftp windowsize 8": "atftp --option 'windowsize 8' --option 'blksize 1428' --get"
    f" --remote-file {{file}} --local-file {{copy}} {SERVER_ADDRESS}",
    "curl http": f"curl -sS -m {{seconds}} -o {{copy}} {_HTTP}",
    # by itself it waits for 15 minutes (and Debian 12's crashes with -T): a node watches it, too
    "busybox wget": f"""busybox wget -q -c -O {{copy}} {_HTTP} & wget=$!
        had=-1 quiet=0
        while kill -0 $wget 2> /dev/null; do
            sleep 0.2
            has=$(stat -c %s {{copy}} 2> /dev/null) || has=0
            [ $has = $had ] && quiet=$((quiet + 1)) || quiet=0
            had=$has
            if [ $quiet -ge {{looks}} ]; then
                kill $wget
                echo "nothing came for {SILENCE} s"
                exit 1
            fi
        done
        wait $wget""",
}
"""Shell commands that fetch ``file`` to ``copy``; the first three speak TFTP."""

LEAVE = 15
"""Seconds more than its own that a program has, to say what is wrong, before it is killed."""


class Fetch:
    """A program of :data:`PROGRAMS` that fetches ``file`` in a namespace, begun when it is made."""

    def __init__(
        self, client: Namespace, program: str, file: str, folder: Path, seconds: int
    ) -> None:
        self.program = program
        self.file = file
        self.tftp = not file.startswith("/")
        self.seconds = 0.0
        stem = program.replace(" ", "-")
        self._copy = folder / stem
        self._said = folder / f"{stem}.said"
        command = PROGRAMS[program].format(
            file=file, copy=self._copy, seconds=seconds, looks=5 * SILENCE
        )
        with self._said.open("wb") as said:
            argv = ["timeout", "-k", "5", str(seconds + LEAVE), "sh", "-c", command]
            self._began = time.monotonic()
            self._process = client.spawn(argv, log=said, cwd=folder)

    def began(self) -> bool:
        """Whether something of the file has come."""
        return self._copy.exists() and self._copy.stat().st_size > 0

    def is_over(self) -> bool:
        """Whether the program has ended; how long it took is noted when it has."""
        if self._process.poll() is None:
            return False
        self.seconds = self.seconds or time.monotonic() - self._began
        return True

    def end(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(10)

    def has(self, content: bytes) -> bool:
        """Whether the copy is the file, bit for bit."""
        digest = hashlib.sha256(content).digest()
        return self._copy.exists() and hashlib.sha256(self._copy.read_bytes()).digest() == digest

    @property
    def status(self) -> int:
        return self._process.returncode

    @property
    def was_killed(self) -> bool:
        """Whether it came to no end of its own and was ended from outside: that tells no one why.

        124 and 137 are how ``timeout`` ends then, and how a shell says SIGKILL.
        """
        return self.status in (124, 137) or self.status < 0

    @property
    def said(self) -> str:
        """What the program itself wrote."""
        return self._said.read_text(errors="replace").strip()


@dataclass(frozen=True)
class TftpEnd:
    """How the server says that a transfer ended; ``detail`` is empty when all was acknowledged."""

    address: str
    file: str
    detail: str
    sent_again: int


_LOADED = re.compile(r"(\S+), \d+ bytes in [\d.]+ s(?:, (\d+) times sent again)?")


def tftp_ends(log: str) -> Iterator[TftpEnd]:
    """Read the ends of all TFTP transfers from a server's log."""
    for line in log.splitlines():
        if not line.startswith("{") or (said := json.loads(line))["event"] != "tftp":
            continue
        if "file" in said:
            yield TftpEnd(said["address"], said["file"], said["detail"], 0)
        elif loaded := _LOADED.fullmatch(said["detail"]):
            yield TftpEnd(said["address"], loaded[1], "", int(loaded[2] or 0))

"""Starts the emulated BMC and says what became of its systems."""

from __future__ import annotations

import base64
import json
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import bcrypt
from vm_harness.net import Namespace

from tests.support.certificates import make_certificate

__all__ = ["PASSWORD", "USER", "Bmc", "credentials"]

PROGRAM = Path(__file__).with_name("emulated_bmc.py")
USER, PASSWORD = "bootserve", "correct horse"


def credentials(folder: Path, text: str = "", mode: int = 0o600) -> Path:
    """Write a file of credentials, by default those that the BMC knows, and return its path."""
    path = folder / "bmcs.toml"
    path.write_text(text or f"[default]\nusername = '{USER}'\npassword = '{PASSWORD}'\n")
    path.chmod(mode)
    return path


class Bmc:
    """One BMC on 127.0.0.1, over TLS, with ``systems`` (name, and what emulated_bmc knows)."""

    def __init__(
        self, folder: Path, *systems: dict[str, Any], within: Namespace | None = None, **config: Any
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.cert, key = make_certificate(folder)
        self._log = folder / "resets"
        self.port = config.pop("port", None) or _free_port()
        hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
        (folder / "users").write_text(f"{USER}:{hashed}\n")
        plain = {"power_state": "On", "nics": []}
        config |= {
            "auth": str(folder / "users"),
            "cert": str(self.cert),
            "key": str(key),
            "log": str(self._log),
            "port": self.port,
            "systems": [{**plain, "uuid": one["name"], **one} for one in systems],
        }
        path = folder / "config.json"
        path.write_text(json.dumps(config))
        argv = [sys.executable, str(PROGRAM), str(path)]
        self._output = folder / "output"
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                within.command(argv) if within else argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        self._wait()

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def _wait(self) -> None:
        deadline = time.monotonic() + 60
        while b"Running on" not in self._output.read_bytes():
            assert self._process.poll() is None, self._output.read_text()
            assert time.monotonic() < deadline, self._output.read_text()
            time.sleep(0.05)

    def resets(self, name: str = "n1") -> list[str]:
        """Return the resets that it was told for one system, in order."""
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        return [line.split()[1] for line in lines if line.split()[0] == name]

    def power(self, name: str = "n1") -> str:
        """Return what it says of one system's power."""
        login = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        ask = Request(
            f"{self.url}/redfish/v1/Systems/{name}", headers={"Authorization": f"Basic {login}"}
        )
        with urlopen(ask, context=ssl.create_default_context(cafile=self.cert)) as answer:
            return str(json.load(answer)["PowerState"])

    def stop(self) -> None:
        self._process.kill()
        self._process.wait(20)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

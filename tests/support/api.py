"""A plain client of the admin socket, and generations made of a few bytes."""

from __future__ import annotations

import hashlib
import http.client
import json
import socket
import time
from pathlib import Path
from typing import Any

from bootserve.model.generation import Artifact, Manifest
from bootserve.model.names import Arch

__all__ = ["Admin", "Problem"]


class Problem(Exception):
    """A problem+json answer."""

    def __init__(self, status: int, document: dict[str, Any]) -> None:
        super().__init__(f"{status}: {document.get('detail')}")
        self.status = status
        self.document = document


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("bootserve", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(30)
        self.sock.connect(str(self._path))


class Admin:
    """Speaks to the server of ``state_dir``."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "admin.sock"

    def raw(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, bytes]:
        connection = _UnixConnection(self._path)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def call(self, method: str, path: str, **body: Any) -> Any:
        """Return the answer's JSON; raises Problem."""
        data = json.dumps(body).encode() if body else None
        status, answer = self.raw(method, "/api/v1" + path, data)
        document = json.loads(answer) if answer else None
        if status >= 400:
            raise Problem(status, document or {})
        return document

    def wait_ready(self, timeout: float = 20) -> None:
        """Wait until the server says that it is ready."""
        deadline = time.monotonic() + timeout
        while not (status := self.call("GET", "/status"))["ready"]:
            assert time.monotonic() < deadline, status["problems"]
            time.sleep(0.1)

    def unready(self) -> str:
        """Return what ``/readyz`` says is the matter, with 503."""
        status, answer = self.raw("GET", "/readyz")
        assert status == 503, answer
        return answer.decode()

    def upload(self, data: bytes) -> Artifact:
        digest = hashlib.sha256(data).hexdigest()
        status, answer = self.raw("PUT", f"/api/v1/artifacts/{digest}?size={len(data)}", data)
        if status >= 400:
            raise Problem(status, json.loads(answer))
        return Artifact(sha256=digest, size=len(data))

    def publish(self, image: str, text: str, root: bytes = b"", **fields: Any) -> str:
        """Import a generation of a few bytes and return its name."""
        contents = {"kernel": b"kernel " + text.encode(), "initrd": b"initrd " + text.encode()}
        contents["root"] = root or b"root " + text.encode()
        manifest = Manifest(
            image=image,
            arch=fields.pop("arch", Arch.AMD64),
            artifacts={name: self.upload(data) for name, data in contents.items()},
            **fields,
        )
        return str(self.register(manifest)["generation"]["name"])

    def bring_in(self, mac: str) -> None:
        """Have a node ``n1`` with this MAC, and ``web@1``, which it boots."""
        self.publish("web", "1")
        self.call("PUT", "/roles/compute", image="web")
        self.call("POST", "/nodes", name="n1", macs=[mac], role="compute")
        self.call("PUT", "/pins", scope="site", generation="web@1")

    def register(self, manifest: Manifest) -> Any:
        return self.call("POST", "/generations", manifest=manifest.to_bytes().decode())

"""An HTTP server for one test: it answers as a function says and keeps what it was asked."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

__all__ = ["Asked", "Calls", "serving"]


@dataclass(frozen=True)
class Asked:
    """One request; ``body`` is its JSON."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any = None

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


Answer = tuple[int, Any] | tuple[int, Any, dict[str, str]]


@dataclass
class Calls:
    """Where the server is, and the requests it was sent, in order."""

    url: str
    asked: list[Asked] = field(default_factory=list)

    def changes(self) -> list[str]:
        """Return what was asked but to look."""
        return [str(one) for one in self.asked if one.method != "GET"]


@contextmanager
def serving(
    answer: Callable[[Asked], Answer], certificate: tuple[Path, Path] | None = None
) -> Iterator[Calls]:
    """Serve on 127.0.0.1, over TLS with a ``certificate`` and its key, within the block."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            parts = urlsplit(self.path)
            data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            query = dict(parse_qsl(parts.query, keep_blank_values=True))
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = json.loads(data) if data else None
            asked = Asked(self.command, parts.path, query, headers, body)
            with lock:
                calls.asked.append(asked)
                status, document, *more = answer(asked)
            text = json.dumps(document).encode()
            self.send_response(status)
            for name, value in (more[0] if more else {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    kind = "http" if certificate is None else "https"
    calls = Calls(f"{kind}://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield calls
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

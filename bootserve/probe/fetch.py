"""Fetching what a server offers, by TFTP (tftpy) and HTTP, with a bound on how much is taken."""

from __future__ import annotations

import hashlib
import http.client
import io
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import tftpy

from bootserve.errors import BootserveError, InvalidInput, NotFound, Unavailable

__all__ = ["Fetched", "fetch_http", "fetch_tftp"]

BLOCK_SIZE = 1428
SECONDS = 5
MOST_SECONDS = 900.0
HEAD = 65536
CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file that was fetched: its first bytes, and the sha256 and number of all that came.

    ``status`` and ``headers`` (in lower case) are HTTP's. ``is_cut`` says that the bound was
    reached before the end.
    """

    head: bytes
    sha256: str
    size: int
    is_cut: bool = False
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


class _TooMuch(Exception):
    pass


class _Bounded(io.BytesIO):
    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def write(self, data: bytes) -> int:  # type: ignore[override]
        if self.tell() + len(data) > self._limit:
            raise _TooMuch
        return super().write(data)


def fetch_tftp(server: str, name: str, *, address: str, limit: int) -> bytes:
    """Return the file ``name`` from the TFTP server at ``server``, port 69.

    ``address`` is ours to send from. Raises NotFound in the server's own words, Unavailable when
    it does not answer, InvalidInput for a file above ``limit`` bytes.
    """
    logging.getLogger("tftpy").setLevel(logging.CRITICAL)  # it reports what is raised as well
    output = _Bounded(limit)
    options = {"blksize": BLOCK_SIZE, "tsize": 0}
    client = tftpy.TftpClient(server, 69, options=options, localip=address)
    try:
        client.download(name, output, timeout=SECONDS, retries=2)
    except _TooMuch:
        raise InvalidInput(f"{name} is larger than {limit} bytes") from None
    except tftpy.TftpTimeout:
        raise Unavailable(f"no TFTP server answers at {server}") from None
    except tftpy.TftpFileNotFoundError:
        raise NotFound(f"{server} has no file {name!r}") from None
    except tftpy.TftpException as error:
        raise NotFound(f"{server} refuses {name!r}: {error}") from None
    except OSError as error:
        raise Unavailable(f"{server} cannot be asked by TFTP: {error.strerror or error}") from None
    return output.getvalue()


def fetch_http(
    url: str, *, address: str, limit: int, first: int = 0, keep: int = HEAD, method: str = "GET"
) -> Fetched:
    """Fetch ``url`` from our ``address``, at most ``limit`` bytes of it; ``keep`` is kept as head.

    With ``first``, that many bytes are asked for by Range. A redirection is not followed, as iPXE
    and the initramfs are served without any. Raises InvalidInput for what is no http URL,
    Unavailable when the server does not answer or breaks off.
    """
    headers = {"User-Agent": "bootserve-probe"}
    if first:
        headers["Range"] = f"bytes=0-{first - 1}"
    with _connected(url, address) as (connection, path):
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        digest, head, size = hashlib.sha256(), bytearray(), 0
        deadline = time.monotonic() + MOST_SECONDS
        while size < limit and (chunk := answer.read1(min(CHUNK, limit - size))):
            if time.monotonic() > deadline:
                raise Unavailable(f"{url} takes too long: {size} bytes in {MOST_SECONDS:.0f} s")
            digest.update(chunk)
            size += len(chunk)
            head += chunk[: keep - len(head)]
        is_cut = size == limit and bool(answer.read(1))
        said = {name.lower(): value for name, value in answer.getheaders()}
    return Fetched(bytes(head), digest.hexdigest(), size, is_cut, answer.status, said)


@contextmanager
def _connected(url: str, address: str) -> Iterator[tuple[http.client.HTTPConnection, str]]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise InvalidInput(f"{url!r} is not a URL") from None
    if parts.scheme not in ("http", "https") or not host:
        raise InvalidInput(f"{url!r} is not an http URL")
    made = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = made(host, port, timeout=SECONDS, source_address=(address, 0))
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        yield connection, path
    except BootserveError:
        raise
    except (http.client.HTTPException, OSError, ValueError) as error:
        words = getattr(error, "strerror", "") or str(error) or type(error).__name__
        raise Unavailable(f"{url} cannot be fetched: {words}") from None
    finally:
        connection.close()

"""``/artifacts/sha256/{hex}`` and ``/nbp/{name}``: whole files by sendfile(2), with ranges."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from aiohttp import web

from bootserve.errors import InvalidInput, NotFound
from bootserve.model.boot import Phase
from bootserve.servers.boot.recorder import Recorder
from bootserve.servers.boot.sending import Sender
from bootserve.store.artifacts import ArtifactStore

__all__ = ["routes", "send_file"]

YEAR = 365 * 24 * 3600


async def send_file(
    sender: Sender,
    request: web.Request,
    path: Path,
    *,
    etag: str,
    content_type: str,
    cache: str,
) -> tuple[web.StreamResponse, int | None]:
    """Answer GET or HEAD with the file at ``path`` (RFC 9110: Range, If-Range, If-None-Match).

    Returns the response and, when the last byte of the file was sent, from which byte on; else
    None. Raises NotFound when the file is gone.
    """
    quoted = f'"{etag}"'
    headers = {"ETag": quoted, "Cache-Control": cache, "Accept-Ranges": "bytes"}
    if quoted in request.headers.get("If-None-Match", ""):
        return web.Response(status=304, headers=headers), None
    try:
        file = path.open("rb")
    except OSError:
        raise NotFound("there is no such file") from None
    with file:
        size = os.fstat(file.fileno()).st_size
        wanted = _wanted_range(request, quoted, size)
        if wanted is None:
            return web.Response(status=416, headers={"Content-Range": f"bytes */{size}"}), None
        start, stop, partial = wanted
        response = web.StreamResponse(status=206 if partial else 200, headers=headers)
        response.content_type = content_type
        response.content_length = stop - start
        if partial:
            response.headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        await response.prepare(request)
        if request.method == "HEAD":
            return response, None
        if request.transport is None:
            raise ConnectionResetError("the client went away")
        await sender.send(request.transport, file, start, stop)
        await response.write_eof()
    return response, start if stop == size else None


def _wanted_range(request: web.Request, etag: str, size: int) -> tuple[int, int, bool] | None:
    """Return start, stop and whether it is a part, or None for a range that is not in the file."""
    if "Range" not in request.headers or request.headers.get("If-Range", etag) != etag:
        return 0, size, False
    try:
        start, stop, _ = request.http_range.indices(size)
    except ValueError:
        return 0, size, False  # RFC 9110 section 14.2: a malformed Range is ignored
    return (start, stop, True) if start < stop else None


def routes(
    sender: Sender,
    store: ArtifactStore,
    nbps: Mapping[str, Path],
    find_nbp: Callable[[str, str], Path],
    recorder: Recorder,
) -> list[web.AbstractRouteDef]:
    """Return the routes of artifacts and NBPs.

    ``find_nbp`` finds the file of an NBP that was added, by digest and name.
    """

    async def artifact(request: web.Request) -> web.StreamResponse:
        digest = request.match_info["hex"]
        if not re.fullmatch("[0-9a-f]{64}", digest):
            raise InvalidInput("an artifact is named by its sha256: 64 hexadecimal digits")
        path = store.path(digest)
        if path is None:
            raise NotFound(f"there is no artifact {digest}")
        began = time.monotonic()
        response, sent_from = await send_file(
            sender,
            request,
            path,
            etag=digest,
            content_type="application/octet-stream",
            cache=f"public, max-age={YEAR}, immutable",
        )
        if sent_from is not None and request.query.get("preview") != "1":  # a probe boots nothing
            recorder.fetched(request.remote or "", digest, time.monotonic() - began)
        return response

    async def nbp(request: web.Request) -> web.StreamResponse:
        path = nbps.get(request.match_info["name"])
        if path is None:
            raise NotFound("there is no NBP of that name")
        return await _send_nbp(sender, request, path, _version(path), "no-cache", recorder)

    async def added_nbp(request: web.Request) -> web.StreamResponse:
        digest = request.match_info["hex"]
        path = find_nbp(digest, request.match_info["name"])
        cache = f"public, max-age={YEAR}, immutable"
        return await _send_nbp(sender, request, path, digest, cache, recorder)

    return [
        web.get("/artifacts/sha256/{hex}", artifact),
        web.get("/nbp/{name}", nbp),
        web.get("/nbp/sha256/{hex}/{name}", added_nbp),
    ]


def _version(path: Path) -> str:
    """Return an ETag of the file that an NBP is in now; raises NotFound."""
    try:
        status = path.stat()
    except OSError as error:
        raise NotFound(f"the NBP {path.name} cannot be read: {error.strerror}") from None
    return f"{status.st_mtime_ns:x}-{status.st_size:x}"


async def _send_nbp(
    sender: Sender, request: web.Request, path: Path, etag: str, cache: str, recorder: Recorder
) -> web.StreamResponse:
    began = time.monotonic()
    # EDK2 boots an HTTP answer only when its type or the URL's ending names an EFI program.
    response, sent_from = await send_file(
        sender, request, path, etag=etag, content_type="application/efi", cache=cache
    )
    if sent_from == 0:
        seconds = time.monotonic() - began
        detail = f"{request.match_info['name']}, {response.content_length} bytes in {seconds:.2f} s"
        recorder.loaded(Phase.HTTP, request.remote or "", detail)
    return response

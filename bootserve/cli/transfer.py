"""Artifacts on their way to the server and back."""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

from bootserve.build.bundle import Bundle, write_bundle
from bootserve.cli.client import Api, Problem, Reply, Unreachable
from bootserve.errors import IntegrityError, InvalidInput
from bootserve.model.generation import Artifact, Manifest
from bootserve.servers.admin.schemas_seen import ImportOut, UploadOut

__all__ = ["Moved", "download_bundle", "save_artifact", "upload_bundle", "upload_file"]

CHUNK = 8 << 20
PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)
CONFLICT = 409

Moved = Callable[[str, int], None]
"""Told the name of an artifact and how many of its bytes have arrived, however that came about."""


async def upload_bundle(api: Api, bundle: Bundle, moved: Moved) -> Reply[ImportOut]:
    """Send what the server lacks of ``bundle`` and register it as a generation.

    An upload that broke off is gone on with, in this run or the next. Raises Problem when the
    server refuses, Unreachable when it stays away, InvalidInput when a file cannot be read.
    """
    artifacts = bundle.manifest.artifacts
    # A server that is away from the start is said at once; one that goes away is waited for.
    await api.call("GET", f"/uploads/{artifacts['root'].sha256}", UploadOut)
    text = bundle.manifest.to_bytes().decode()
    body, again = {"manifest": text}, True
    while True:
        for name, artifact in artifacts.items():
            await upload_file(api, bundle.artifact(name), artifact, partial(moved, name))
        try:
            return await api.call("POST", "/generations", ImportOut, body=body, patient=True)
        except Problem as problem:
            # 409: an artifact is gone again, which was no generation's yet. Send what is lacking.
            if problem.status != CONFLICT or not again:
                raise
            again = False


async def upload_file(
    api: Api, file: Path, artifact: Artifact, moved: Callable[[int], None] = lambda _count: None
) -> None:
    """Send what the server lacks of ``artifact``, whose content is ``file``'s; raises as above."""
    pauses = iter(PAUSES)
    while True:
        try:
            await _send_rest(api, file, artifact, moved)
            return
        except (Unreachable, Problem) as error:
            pause = next(pauses, None)
            # 409: another upload of the same artifact got there first; ask again how far it is.
            if pause is None or (isinstance(error, Problem) and error.status != CONFLICT):
                raise
            await asyncio.sleep(pause)


async def _send_rest(
    api: Api, file: Path, artifact: Artifact, moved: Callable[[int], None]
) -> None:
    path, size = f"/artifacts/{artifact.sha256}", artifact.size
    state = (await api.call("GET", f"/uploads/{artifact.sha256}", UploadOut)).value
    while not state.complete:
        moved(state.offset)
        data = _read(file, state.offset, min(CHUNK, size - state.offset))
        reply = await api.call(
            "PUT",
            path,
            UploadOut,
            data=data,
            query={"offset": state.offset, "size": size},
            patient=True,  # the last one is answered when the whole artifact has been verified
        )
        if reply.value.offset <= state.offset and not reply.value.complete:
            raise Unreachable("the server takes no more bytes and does not say why")
        state = reply.value
    moved(size)


def _read(file: Path, offset: int, count: int) -> bytes:
    try:
        with file.open("rb") as stream:
            stream.seek(offset)
            data = stream.read(max(count, 0))
    except OSError as error:
        raise InvalidInput(f"cannot read {file}: {error.strerror}") from None
    if len(data) < count:
        raise InvalidInput(f"{file} became shorter while it was being sent")
    return data


async def download_bundle(api: Api, manifest: Manifest, output: Path, moved: Moved) -> None:
    """Write the generation that has ``manifest`` as a bundle at ``output``, whole or not at all.

    Raises IntegrityError when what came has another digest than the manifest's, and what
    :func:`write_bundle` raises.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{output.name}-", dir=output.parent) as made:
        files = {}
        for part, artifact in manifest.artifacts.items():
            files[part] = Path(made) / part
            stream = api.download(f"/artifacts/{artifact.sha256}")
            await _save(stream, files[part], artifact, partial(moved, part))
        write_bundle(output, manifest, files, link=True)


async def save_artifact(api: Api, artifact: Artifact, file: Path) -> None:
    """Write an artifact to a new file; raises IntegrityError when it has another digest."""
    stream = api.download(f"/artifacts/{artifact.sha256}")
    await _save(stream, file, artifact, lambda _count: None)


async def _save(
    stream: AsyncIterator[bytes], file: Path, artifact: Artifact, moved: Callable[[int], None]
) -> None:
    digest, count = hashlib.sha256(), 0
    moved(0)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    with os.fdopen(descriptor, "wb") as target:
        async for chunk in stream:
            digest.update(chunk)
            target.write(chunk)
            count += len(chunk)
            moved(count)
    if (count, digest.hexdigest()) != (artifact.size, artifact.sha256):
        raise IntegrityError(
            f"what came for {artifact.sha256} has the sha256 {digest.hexdigest()}",
            hint="Have the server check its store: bootserve scrub.",
        )

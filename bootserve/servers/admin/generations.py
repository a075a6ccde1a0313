"""Generations and their artifacts: upload, register, verify, export, remove."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import asdict

from aiohttp import web

from bootserve.core.resolve import REPAIR
from bootserve.errors import Conflict, IntegrityError, InvalidInput, NotFound
from bootserve.model.generation import Generation, GenerationRef, parse_manifest
from bootserve.servers.admin.needs import OPERATOR, VIEWER, anywhere, site
from bootserve.servers.admin.paging import page
from bootserve.servers.admin.plane import AdminPlane
from bootserve.servers.admin.routing import Call, NoQuery, Request, Route
from bootserve.servers.admin.schemas_seen import (
    GenerationList,
    GenerationOut,
    GenerationQuery,
    ImportBody,
    ImportOut,
    RevocationOut,
    RevokeBody,
    UploadOut,
    UploadQuery,
    VerifyOut,
)
from bootserve.servers.boot.files import send_file

__all__ = ["routes"]

CHUNK = 1 << 20


def _out(
    generation: Generation, *, used_by: list[str] | None = None, whole: bool = False
) -> GenerationOut:
    manifest = generation.manifest
    return GenerationOut(
        name=str(generation.ref),
        digest=generation.digest,
        arch=manifest.arch,
        size=sum(artifact.size for artifact in manifest.artifacts.values()),
        imported_at=generation.imported_at,
        imported_by=generation.imported_by,
        removed_at=generation.removed_at,
        revoked=RevocationOut(**asdict(generation.revoked)) if generation.revoked else None,
        damaged=generation.damaged,
        used_by=used_by or [],
        manifest=json.loads(manifest.to_bytes()) if whole and not generation.damaged else None,
    )


class _Generations:
    def __init__(self, plane: AdminPlane) -> None:
        self._plane = plane

    def _find(self, name: str) -> Generation:
        ref = GenerationRef.parse(name)
        generation = self._plane.current.snapshot.generations.get(ref)
        if generation is None:
            raise NotFound(f"there is no generation {ref}", hint="See 'bootserve image list'.")
        return generation

    async def list_all(self, call: Call[Request, GenerationQuery]) -> GenerationList:
        query = call.query
        found, more = page(
            (
                one
                for ref, one in self._plane.current.snapshot.generations.items()
                if query.image in ("", ref.image) and (query.removed or one.removed_at is None)
            ),
            lambda one: (one.ref.image, one.ref.number),
            query,
        )
        return GenerationList(next=more, generations=[_out(one) for one in found])

    async def show(self, call: Call[Request, NoQuery]) -> GenerationOut:
        generation = self._find(call.path["name"])
        return _out(generation, used_by=await self._users(generation.ref), whole=True)

    async def _users(self, ref: GenerationRef) -> list[str]:
        await self._plane.flush()
        plane = self._plane
        return list(await plane.database.run(plane.generations.users, ref, time.time()))

    async def register(self, call: Call[ImportBody, NoQuery]) -> ImportOut:
        manifest = parse_manifest(call.body.manifest.encode())
        plane = self._plane
        async with plane.collector.undoing(), plane.collector.lock:
            for name, artifact in manifest.artifacts.items():
                if not await asyncio.to_thread(plane.artifacts.has, artifact.sha256):
                    raise Conflict(f"the {name} {artifact.sha256} has not been uploaded")
                size = await asyncio.to_thread(plane.artifacts.size, artifact.sha256)
                if size != artifact.size:
                    raise InvalidInput(f"the {name} has {size} bytes, not {artifact.size}")
            generation, created = await plane.committer.register(manifest, call.subject)
        return ImportOut(generation=_out(generation, whole=True), created=created)

    async def remove(self, call: Call[Request, NoQuery]) -> GenerationOut:
        plane = self._plane
        async with plane.collector.lock:
            ref = self._find(call.path["name"]).ref
            await plane.flush()
            await plane.collector.delete(await plane.committer.remove(ref, call.subject))
        return _out(plane.current.snapshot.generations[ref])

    async def revoke(self, call: Call[RevokeBody, NoQuery]) -> GenerationOut:
        ref = self._find(call.path["name"]).ref
        await self._plane.flush()
        await self._plane.committer.revoke(ref, call.subject, call.body.reason)
        return _out(self._plane.current.snapshot.generations[ref])

    async def unrevoke(self, call: Call[RevokeBody, NoQuery]) -> GenerationOut:
        ref = self._find(call.path["name"]).ref
        await self._plane.committer.unrevoke(ref, call.subject, call.body.reason)
        return _out(self._plane.current.snapshot.generations[ref])

    async def verify(self, call: Call[Request, NoQuery]) -> VerifyOut:
        generation = self._find(call.path["name"])
        if generation.damaged:
            raise IntegrityError(f"{generation.ref}, {generation.damaged}", hint=REPAIR)
        results = {
            name: await self._verify(artifact.sha256)
            for name, artifact in generation.manifest.artifacts.items()
        }
        return VerifyOut(
            name=str(generation.ref),
            artifacts=results,
            intact=all(result == "ok" for result in results.values()),
        )

    async def _verify(self, digest: str) -> str:
        try:
            return "ok" if await self._plane.check(digest) else "corrupt"
        except NotFound:
            return "missing"

    async def uploaded(self, call: Call[Request, NoQuery]) -> UploadOut:
        digest, store = call.path["hex"], self._plane.artifacts
        complete = await asyncio.to_thread(store.has, digest)
        return UploadOut(
            offset=await asyncio.to_thread(store.upload_offset, digest), complete=complete
        )

    async def upload(self, call: Call[Request, UploadQuery]) -> UploadOut:
        async with self._plane.collector.undoing():
            return await self._receive(call)

    async def _receive(self, call: Call[Request, UploadQuery]) -> UploadOut:
        digest, store, query = call.path["hex"], self._plane.artifacts, call.query
        offset = query.offset
        if await asyncio.to_thread(store.has, digest):
            return UploadOut(offset=query.size, complete=True)
        async for chunk in call.raw.content.iter_chunked(CHUNK):
            if offset + len(chunk) > query.size:
                await asyncio.to_thread(store.abort, digest)
                raise InvalidInput(f"more than the {query.size} bytes that were announced")
            offset = await asyncio.to_thread(store.append, digest, offset, chunk)
        if offset == query.size:
            await asyncio.to_thread(store.finish, digest, query.size)
        return UploadOut(offset=offset, complete=offset == query.size)

    async def download(self, call: Call[Request, NoQuery]) -> web.StreamResponse:
        digest = call.path["hex"]
        path = self._plane.artifacts.path(digest)
        if path is None:
            raise NotFound(f"there is no artifact {digest}")
        response, _ = await send_file(
            self._plane.sender,
            call.raw,
            path,
            etag=digest,
            content_type="application/octet-stream",
            cache="private",
        )
        return response


def routes(plane: AdminPlane) -> list[Route]:
    """Return the routes of generations and artifacts."""
    handlers = _Generations(plane)
    return [
        *_generation_routes(handlers),
        *_revocation_routes(handlers),
        *_artifact_routes(handlers),
    ]


def _revocation_routes(handlers: _Generations) -> list[Route]:
    one = "/generations/{name}"
    return [
        Route(
            "POST",
            f"{one}/{verb}",
            summary,
            handler,
            GenerationOut,
            RevokeBody,
            needs=site(OPERATOR),
        )
        for verb, summary, handler in (
            ("revoke", "Have no node given a generation any more", handlers.revoke),
            ("unrevoke", "Let nodes be given a revoked generation again", handlers.unrevoke),
        )
    ]


def _generation_routes(handlers: _Generations) -> list[Route]:
    everything, one = "/generations", "/generations/{name}"
    return [
        Route(
            "GET",
            everything,
            "List generations",
            handlers.list_all,
            GenerationList,
            query=GenerationQuery,
            needs=anywhere(VIEWER),
        ),
        Route(
            "POST",
            everything,
            "Register a generation",
            handlers.register,
            ImportOut,
            ImportBody,
            needs=site(OPERATOR),
        ),
        Route(
            "GET",
            one,
            "Show a generation",
            handlers.show,
            GenerationOut,
            needs=anywhere(VIEWER),
        ),
        Route(
            "DELETE",
            one,
            "Remove a generation's artifacts",
            handlers.remove,
            GenerationOut,
            needs=site(OPERATOR),
        ),
        Route(
            "POST",
            one + "/verify",
            "Read its artifacts again, and quarantine the corrupt",
            handlers.verify,
            VerifyOut,
            needs=site(OPERATOR),
        ),
    ]


def _artifact_routes(handlers: _Generations) -> list[Route]:
    artifact = "/artifacts/{hex}"
    return [
        Route(
            "GET",
            "/uploads/{hex}",
            "How far an upload is",
            handlers.uploaded,
            UploadOut,
            needs=site(OPERATOR),
        ),
        Route("GET", artifact, "Download an artifact", handlers.download, needs=site(VIEWER)),
        Route(
            "PUT",
            artifact,
            "Upload an artifact, or go on with it",
            handlers.upload,
            UploadOut,
            query=UploadQuery,
            raw=True,
            needs=site(OPERATOR),
        ),
    ]

"""A client that stops taking a long answer is cut off."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

from aiohttp import web

from bootserve.servers.admin.streaming import send


async def test_a_client_that_takes_nothing_is_cut_off(tmp_path: Path) -> None:
    ended = asyncio.Event()

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await send(request, response, bytes(1 << 20), patience=0.1)
        finally:
            ended.set()

    app = web.Application()
    app.router.add_get("/", endless)
    runner = web.AppRunner(app)
    await runner.setup()
    path = str(tmp_path / "socket")
    await web.UnixSite(runner, path).start()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect(path)
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(60):
            await ended.wait()
        client.settimeout(60)
        taken = 0
        while data := client.recv(1 << 20):
            taken += len(data)
        assert taken < 1 << 30  # the connection ended
    await runner.cleanup()

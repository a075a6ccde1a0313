"""Turns what the DHCP and TFTP servers see into phases, discovered machines and log lines."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from bootserve.core.loops import Waiting
from bootserve.core.responder import Offered
from bootserve.core.sampling import Sampler
from bootserve.model.boot import Discovered, Phase
from bootserve.model.names import Mac
from bootserve.servers.boot.recorder import Recorder
from bootserve.servers.current import Current
from bootserve.servers.dhcp import DhcpEvent
from bootserve.servers.tftp import TftpEvent, TftpEventKind
from bootserve.service.calm import Calm
from bootserve.wire.pxe import FirmwareKind

__all__ = ["Sightings"]

LINES_A_SECOND = 200
"""Answers to nodes logged each, of all that are given in a second; the rest is counted."""


class Sightings:
    """The event callbacks of the DHCP and TFTP servers.

    With ``register``, a network-boot client that is no node is recorded as discovered. ``fetched``
    is told the address that has fetched an NBP, and when (seconds since the epoch). What any
    stranger can cause is logged to ``calm``. ``counts`` are all events since the start, by kind.
    """

    def __init__(
        self,
        current: Current,
        recorder: Recorder,
        log: Any,
        calm: Calm,
        *,
        register: bool,
        fetched: Callable[[str, float], None],
    ) -> None:
        self._current = current
        self._recorder = recorder
        self._log = log
        self._calm = calm
        self.counts: Counter[str] = Counter()
        self._register = register
        self._fetched = fetched
        self._sampler = Sampler(LINES_A_SECOND)

    def dhcp(self, event: DhcpEvent) -> None:
        """Take an event of the DHCP server."""
        client = event.client
        self.counts[f"dhcp {event.kind}"] += 1
        if event.kind in ("send failed", "receive failed"):
            detail = f"{event.kind}: {event.reason}"
            self._calm.error("dhcp", node=event.node, port=event.port, detail=detail)
        if client is None or client.is_probe:
            return  # not a network-boot client: ordinary DHCP traffic, or noise
        if event.kind == "no usable offers":
            log = self._log if event.node else self._calm
            log.warning("dhcp", node=event.node, mac=client.mac, detail=event.reason)
        elif event.kind == "ignored":
            if event.node:
                self._calm.warning("dhcp", node=event.node, mac=client.mac, detail=event.reason)
        elif event.node and event.kind != "send failed":
            detail = f"{event.kind} to {client.kind} {client.arch}"
            if client.kind is FirmwareKind.IPXE:
                self._recorder.ipxe_runs(client.mac, client.features)
            if self._is_logged(event.news):
                self._recorder.log_answer(detail, event.node, client.mac)
        if self._register and self._current.snapshot.plan(client.mac) is None:
            self._recorder.discovered(
                Discovered(
                    mac=client.mac,
                    arch=client.arch.value,
                    uuid=client.uuid,
                    vendor_class=client.vendor_class[:100],
                )
            )

    def offered(self, offers: Sequence[Offered]) -> None:
        """Take offers that were made from forms; like :meth:`dhcp`, and cheap in a storm."""
        for offered in offers:
            if offered.kind.is_ipxe:
                self._recorder.ipxe_runs(offered.mac, offered.kind.client.features)
            if self._is_logged(offered.news):
                self._recorder.log_answer(offered.what, offered.node, offered.mac)
        for offer, count in Counter([one.offer for one in offers]).items():
            self.counts[f"dhcp {offer}"] += count

    def _is_logged(self, news: bool) -> bool:
        if not self._sampler.events:
            asyncio.get_running_loop().call_later(1.0, self._tell)
        return self._sampler.is_logged(news=news)

    def _tell(self) -> None:
        self._recorder.counted(*self._sampler.take())

    def looping(self, node: str, mac: Mac, waiting: Waiting) -> None:
        """Take note that a node in a chainload loop has to wait for an NBP."""
        self._recorder.looping(node, mac, waiting)

    def tftp(self, event: TftpEvent) -> None:
        """Take an event of the TFTP server."""
        address = event.client[0]
        self.counts[f"tftp {event.kind}"] += 1
        if event.kind is TftpEventKind.COMPLETED:
            self._fetched(address, time.time())
            detail = f"{event.filename}, {event.bytes_sent} bytes in {event.seconds:.2f} s"
            if event.retransmissions:
                detail += f", {event.retransmissions} times sent again"
            self._recorder.loaded(Phase.TFTP, address, detail)
        elif event.kind in (TftpEventKind.FAILED, TftpEventKind.REFUSED):
            file, detail = event.filename[:100], event.detail
            self._calm.info("tftp", kind="failed", address=address, file=file, detail=detail)
        elif event.kind is TftpEventKind.TROUBLE:
            self.counts["tftp not told of"] += event.left_out
            self._calm.warning("tftp", detail=event.detail)

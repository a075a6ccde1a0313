"""Makes what reboots nodes from the settings."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from bootserve.servers.current import Current
from bootserve.servers.dbthread import DatabaseThread
from bootserve.servers.reboots.agents import AgentRequests
from bootserve.servers.reboots.methods import Patience
from bootserve.servers.reboots.parts import Reboots
from bootserve.servers.reboots.redfish import RedfishSettings
from bootserve.settings import Settings
from bootserve.store.boots import BootStore
from bootserve.store.reboots import RebootStore

__all__ = ["make_reboots"]


def make_reboots(
    settings: Settings,
    stores: tuple[RebootStore, BootStore],
    sql: DatabaseThread,
    flush: Callable[[], Awaitable[None]],
    current: Current,
    agents: AgentRequests,
    log: Any,
) -> Reboots:
    """Return what reboots nodes as ``settings`` say, not yet started."""
    bmcs = RedfishSettings(
        credentials=settings.redfish_credentials,
        verify=settings.redfish_verify,
        ca_file=settings.redfish_ca_file,
    )
    patience = Patience(
        agent=settings.agent_minutes * 60,
        graceful=settings.redfish_graceful_minutes * 60,
        up=settings.reboot_minutes * 60,
    )
    return Reboots.join(
        *stores,
        sql,
        flush,
        lambda: current.snapshot,
        settings.hooks,
        agents,
        bmcs,
        patience,
        log,
    )

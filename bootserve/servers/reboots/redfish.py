"""Reboots by a node's BMC, over Redfish (DMTF DSP0266), with sushy in threads of its own."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bootserve.errors import BootserveError, InvalidInput, Refused, Unavailable
from bootserve.model.desired import Node
from bootserve.servers.reboots.bmcs import SYSTEM_LABEL, Bmc, bmc_of

__all__ = ["Redfish", "RedfishSettings", "restart_at"]

THREADS = 8
CONNECT_SECONDS = 10
READ_SECONDS = 30
OFF_SECONDS = 60.0
POLL_SECONDS = 0.5
TRIES = 3
TRY_PAUSE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class RedfishSettings:
    """How BMCs are reached.

    ``verify`` is whether their certificates are checked, against ``ca_file`` or the system's
    authorities, and http:// is refused; ``timeout`` is seconds for one whole exchange with a BMC.
    """

    credentials: Path | None = None
    verify: bool = True
    ca_file: Path | None = None
    timeout: float = 180.0


class Redfish:
    """Speaks to BMCs. Slow ones keep each other waiting, and nothing else."""

    def __init__(self, settings: RedfishSettings, *, pause: float = TRY_PAUSE_SECONDS) -> None:
        self._settings = settings
        self._pause = pause
        self._threads: ThreadPoolExecutor | None = None

    def close(self) -> None:
        """End the threads; calls under way are left to end by themselves."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    async def restart(self, node: Node, *, force: bool) -> str:
        """Have the BMC of ``node`` restart it, or switch it on if it is off; return what was done.

        ``force`` does not wait for the system that runs on it. A BMC that is away or busy is asked
        three times. Raises NotFound without a BMC, InvalidInput for wrong settings, Refused when
        the BMC refuses, Unavailable when it does not answer.
        """
        for left in reversed(range(TRIES)):
            try:
                return await self._call(node, force)
            except Unavailable:
                if not left:
                    raise
                await asyncio.sleep(self._pause)
        raise AssertionError

    async def _call(self, node: Node, force: bool) -> str:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="redfish")
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._threads, self._talk, node, force)
        try:
            async with asyncio.timeout(self._settings.timeout):
                return await future
        except TimeoutError:
            raise Unavailable(
                f"the BMC of {node.name} took longer than {self._settings.timeout:g} s"
            ) from None

    def _talk(self, node: Node, force: bool) -> str:
        bmc = bmc_of(node, self._settings.credentials, clear=not self._settings.verify)
        return restart_at(
            bmc,
            force,
            verify=self._verify(),
            # A reset that is sent again is another reset: this module repeats, and looks first.
            server_side_retries=1,
            server_side_retries_delay=1,
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
        )

    def _verify(self) -> bool | str:
        ca_file = self._settings.ca_file
        if not self._settings.verify or ca_file is None:
            return self._settings.verify
        if not ca_file.is_file():
            raise InvalidInput(f"redfish_ca_file: there is no {ca_file}")
        return str(ca_file)


def restart_at(bmc: Bmc, force: bool, **how: Any) -> str:
    """Restart the system behind ``bmc`` and return what was done; ``how`` goes to sushy.

    Raises InvalidInput, Refused or Unavailable, whatever the BMC answers.
    """
    sushy = _sushy()
    with _translated(sushy, bmc):
        root = sushy.Sushy(bmc.url, bmc.username, bmc.password, **how)
        return _restart(_system(root, bmc), sushy, force)


def _sushy() -> Any:
    try:
        sushy = importlib.import_module("sushy")
    except ImportError:
        raise InvalidInput(
            "reboots by Redfish need the package sushy, which is not installed",
            hint="Install it for the server's Python: pip install 'bootserve[redfish]'",
        ) from None
    # Its warnings would go to stderr, past the server's log, and what matters is raised.
    logging.getLogger("sushy").addHandler(logging.NullHandler())
    return sushy


@contextlib.contextmanager
def _translated(sushy: Any, bmc: Bmc) -> Iterator[None]:
    """Turn sushy's errors into ours; none of them may carry the password."""
    errors = sushy.exceptions
    who = f"the BMC of {bmc.node} ({bmc.url})"
    try:
        yield
    except BootserveError:
        raise
    except errors.AccessError:
        raise Refused(
            f"{who} refuses user {bmc.username}",
            hint="Check its entry in the file of redfish_credentials.",
        ) from None
    except errors.ConnectionError as error:
        raise _unreachable(who, str(error)) from None
    except errors.HTTPError as error:
        status = error.status_code or 0
        kind = Unavailable if status >= 500 or status in (409, 429) else Refused
        raise kind(f"{who} answers with HTTP status {status}: {_short(error)}") from None
    except errors.SushyError as error:
        raise Refused(f"{who} is not as Redfish says: {_short(error)}") from None
    except (ArithmeticError, AttributeError, LookupError, OSError, TypeError, ValueError) as error:
        # sushy takes for granted that a list is a list, and that an address can be one
        raise Refused(f"{who} is not as Redfish says ({type(error).__name__})") from None
    except RecursionError:
        raise Refused(f"{who} is not as Redfish says: it is nested too deeply") from None


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _unreachable(who: str, words: str) -> BootserveError:
    if "CERTIFICATE_VERIFY_FAILED" in words or "doesn't match" in words:
        return Refused(
            f"the certificate of {who} cannot be verified",
            hint="Set redfish_ca_file to its authority's, or redfish_verify = false.",
        )
    return Unavailable(f"{who} cannot be reached", hint="Is its label bmc the right address?")


def _system(root: Any, bmc: Bmc) -> Any:
    """Return the one system behind a BMC, or the one that the node's label names."""
    collection = root.get_system_collection()
    paths = list(collection.members_identities)
    names = [path.rstrip("/").rpartition("/")[2] for path in paths]
    if bmc.system:
        paths = [
            path for path, name in zip(paths, names, strict=True) if bmc.system in (path, name)
        ]
    if len(paths) == 1:
        return collection.get_member(paths[0])
    raise InvalidInput(
        f"the BMC of {bmc.node} has {len(names)} systems, and the label {SYSTEM_LABEL} names"
        f" {repr(bmc.system) if bmc.system else 'none'}",
        hint=f"It is one of: {', '.join(names[:20])}",
    )


def _state(system: Any) -> str:
    return str(getattr(system.power_state, "value", system.power_state))


def _restart(system: Any, sushy: Any, force: bool) -> str:
    """Restart ``system`` by the gentlest way that its BMC knows and ``force`` allows."""
    allowed = system.get_allowed_reset_system_values()
    kinds = sushy.ResetType
    if _state(system) == "Off":
        system.reset_system(kinds.ON if kinds.ON in allowed else kinds.FORCE_ON)
        return "it was off, and its BMC switches it on"
    if not force and kinds.GRACEFUL_RESTART in allowed:
        system.reset_system(kinds.GRACEFUL_RESTART)
        return "its BMC asked it to restart"
    for kind in (kinds.FORCE_RESTART, kinds.POWER_CYCLE):
        if kind in allowed:
            system.reset_system(kind)
            return "its BMC resets it"
    return _off_and_on(system, kinds)


def _off_and_on(system: Any, kinds: Any) -> str:
    system.reset_system(kinds.FORCE_OFF)
    deadline = time.monotonic() + OFF_SECONDS
    while _state(system) != "Off":
        if time.monotonic() > deadline:
            raise Unavailable(f"the BMC has not switched it off within {OFF_SECONDS:g} s")
        time.sleep(POLL_SECONDS)
        system.refresh(force=True)
    system.reset_system(kinds.ON)
    return "its BMC switched it off and on"

"""sushy-tools' Redfish emulator before machines of QEMU's: a program, CONFIG.json its argument.

The emulator is the shipped one; only what stands behind it is ours: a system whose resets go to a
QEMU by QMP (``qmp``, a socket), or are only written down (``qmp`` empty), at once and not after the
random pause of the fake driver. One that is ``deaf`` ignores what asks the operating system.
``kinds`` are the resets that the BMC says it knows. Every reset is a line of the file ``log``.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from pathlib import Path
from typing import Any

from sushy_tools.emulator import main as emulator
from sushy_tools.emulator.resources.systems import fakedriver

CONFIG: dict[str, Any] = {}
LOCK = threading.Lock()


def qmp(path: str, *commands: str) -> None:
    """Send commands to the monitor at ``path``, which may be longer than a socket's name can be."""
    folder = os.open(Path(path).parent, os.O_RDONLY)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as monitor:
            monitor.settimeout(20)
            monitor.connect(f"/proc/self/fd/{folder}/{Path(path).name}")
            stream = monitor.makefile("rw")
            stream.readline()
            for command in ("qmp_capabilities", *commands):
                stream.write(json.dumps({"execute": command}) + "\n")
                stream.flush()
                while "return" not in stream.readline():
                    pass
    finally:
        os.close(folder)


class Systems(fakedriver.FakeDriver):  # type: ignore[misc]
    """The systems of CONFIG."""

    @classmethod
    def initialize(cls, config: Any, logger: Any) -> type[Systems]:
        cls._config, cls._logger = config, logger
        return cls

    def __init__(self) -> None:
        self._systems = {one["uuid"]: one for one in CONFIG["systems"]}
        self._by_name = {one["name"]: one["uuid"] for one in CONFIG["systems"]}

    def _update_if_needed(self, system: dict[str, Any]) -> dict[str, Any]:
        return system

    def set_power_state(self, identity: str, state: str) -> None:
        with LOCK:
            system = self._get(identity)
            with Path(CONFIG["log"]).open("a") as log:
                log.write(f"{system['name']} {state}\n")
            if system.get("deaf") and state.startswith("Graceful"):
                return
            off = state in ("ForceOff", "GracefulShutdown")
            if system.get("qmp"):
                qmp(system["qmp"], *(["stop"] if off else ["system_reset", "cont"]))
            system["power_state"] = "Off" if off else "On"


def known_kinds(response: Any) -> Any:
    """Have the answer name the resets of CONFIG."""
    document = response.get_json(silent=True)
    if "kinds" in CONFIG and document and "Actions" in document:
        reset = document["Actions"].get("#ComputerSystem.Reset")
        if reset is not None:
            reset["ResetType@Redfish.AllowableValues"] = CONFIG["kinds"]
            response.set_data(json.dumps(document))
    return response


if __name__ == "__main__":
    CONFIG.update(json.loads(Path(sys.argv[1]).read_text()))
    fakedriver.FakeDriver = Systems
    emulator.app.config["SUSHY_EMULATOR_AUTH_FILE"] = CONFIG["auth"]
    emulator.app.configure()
    emulator.app.after_request(known_kinds)
    sys.argv[1:] = ["--fake", "-i", "127.0.0.1", "-p", str(CONFIG["port"])]
    sys.argv += ["--ssl-certificate", CONFIG["cert"], "--ssl-key", CONFIG["key"]]
    emulator.main()

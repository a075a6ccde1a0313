"""Where a node's BMC is, and what opens it: labels and a file of credentials."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bootserve.errors import InvalidInput, NotFound
from bootserve.model.desired import Node

__all__ = ["BMC_LABEL", "SYSTEM_LABEL", "Bmc", "bmc_of", "read_credentials"]

BMC_LABEL = "bmc"
SYSTEM_LABEL = "bmc-system"
EXAMPLE = (
    'Write:  [default]  username = "…"  password = "…"  and [node.NAME] for those that differ.'
)


@dataclass(frozen=True, slots=True)
class Bmc:
    """A node's BMC. ``system`` names one of several computers behind it; empty when it has one."""

    node: str
    url: str
    system: str
    username: str
    password: str

    def __repr__(self) -> str:
        return f"Bmc({self.node}, {self.url})"


def bmc_of(node: Node, credentials: Path | None, *, clear: bool = False) -> Bmc:
    """Return the BMC of ``node``; reads the file of credentials, so that a change holds at once.

    ``clear`` is whether the password may go over the network in clear, by http://.

    Raises NotFound when the node has no BMC, InvalidInput when its address or the file is wrong.
    """
    labels = dict(node.labels)
    address = labels.get(BMC_LABEL, "")
    if not address:
        raise NotFound(
            f"node {node.name} has no BMC",
            hint=f"Give it one, beside the labels that it has (these replace all):"
            f" bootserve node set {node.name} --label {BMC_LABEL}=10.0.9.11",
        )
    url = address if "://" in address else f"https://{address}"
    if not re.fullmatch(r"https?://(?!-)[A-Za-z0-9.-]+(:\d{1,5})?/?", url):
        raise InvalidInput(
            f"the label {BMC_LABEL} of node {node.name} is no address: {address[:80]!r}",
            hint="Write an IPv4 address or a name, or https://NAME:PORT.",
        )
    if url.startswith("http:") and not clear:
        raise InvalidInput(
            f"the label {BMC_LABEL} of node {node.name} would send the password in clear: {url}",
            hint="Write https://NAME:PORT; redfish_verify = false allows http:// on a network of"
            " BMCs alone.",
        )
    if credentials is None:
        raise InvalidInput(
            "there are no credentials for BMCs",
            hint="Set redfish_credentials to a file of mode 0600. " + EXAMPLE,
        )
    username, password = _pick(read_credentials(credentials), node.name, credentials)
    return Bmc(node.name, url.rstrip("/"), labels.get(SYSTEM_LABEL, ""), username, password)


def read_credentials(path: Path) -> Mapping[str, Any]:
    """Return the tables of the file at ``path``.

    Raises InvalidInput when it cannot be read, is no such file, or others may read it: a file that
    systemd passed (LoadCredential=) is taken as systemd made it.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777
            data = file.read(1 << 20)
    except OSError as error:
        raise InvalidInput(
            f"cannot read the BMCs' credentials in {path}: {error.strerror}",
            hint="The server reads it as the user that it becomes ('bootserve config show').",
        ) from None
    passed = os.environ.get("CREDENTIALS_DIRECTORY", "")
    if mode & 0o077 and not (passed and path.is_relative_to(passed)):
        raise InvalidInput(
            f"others may read {path}, which holds passwords (mode {mode:04o})",
            hint=f"chmod 600 {path}",
        )
    try:
        return tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        # The parser's words would quote a line of the file.
        raise InvalidInput(f"{path} is not TOML", hint=EXAMPLE) from None


def _pick(tables: Mapping[str, Any], node: str, path: Path) -> tuple[str, str]:
    nodes = tables.get("node", {})
    found = nodes.get(node) if isinstance(nodes, dict) else None
    found = tables.get("default") if found is None else found
    if not isinstance(found, dict):
        raise InvalidInput(f"{path} has no credentials for the BMC of {node}", hint=EXAMPLE)
    values = found.get("username"), found.get("password")
    if not all(isinstance(value, str) and value for value in values):
        raise InvalidInput(f"{path}: what is for {node} lacks username or password", hint=EXAMPLE)
    return str(values[0]), str(values[1])

"""What a node's script tells a machine to fetch, read back from the script itself."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

__all__ = ["ScriptArtifact", "artifacts_of", "generation_of"]

_FETCH: Final = re.compile(
    r"^(kernel|initrd)\b[^\n]*?\s(https?://\S+/artifacts/sha256/([0-9a-f]{64}))\b", re.MULTILINE
)
_SERVER: Final = re.compile(r"\bbootserve\.server=(\S+)")
_ROOT: Final = re.compile(r"\bbootserve\.root=([0-9a-f]{64})\b")
_SIZE: Final = re.compile(r"\bbootserve\.root_size=([0-9]{1,18})\b")
_GENERATION: Final = re.compile(r"\bbootserve\.generation=(\S+)")


@dataclass(frozen=True, slots=True)
class ScriptArtifact:
    """A file that a script names: what it is to the node, its URL and sha256.

    ``size`` is in bytes, 0 where the script does not say it.
    """

    name: str
    url: str
    sha256: str
    size: int = 0


def artifacts_of(script: str) -> tuple[ScriptArtifact, ...]:
    """Return the kernel, initrd and root that a script of ours names, in that order."""
    found = [ScriptArtifact(name, url, digest) for name, url, digest in _FETCH.findall(script)]
    server, root = _SERVER.search(script), _ROOT.search(script)
    if server and root:
        size = _SIZE.search(script)
        url = f"{server[1]}/artifacts/sha256/{root[1]}"
        found.append(ScriptArtifact("root", url, root[1], int(size[1]) if size else 0))
    return tuple(found)


def generation_of(script: str) -> str:
    """Return the generation that a script boots (``k8s-node@41``), or an empty string."""
    found = _GENERATION.search(script)
    return found[1] if found else ""

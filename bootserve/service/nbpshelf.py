"""NBPs that were added: which one a node is offered, and its bytes for TFTP."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Final

from bootserve.core.nbps import pinned_nbp
from bootserve.core.offers import PinnedNbp
from bootserve.core.snapshot import NodePlan
from bootserve.errors import IntegrityError, NotFound
from bootserve.model.nbp import Nbp, NbpArch
from bootserve.servers.current import Current
from bootserve.store.artifacts import ArtifactStore
from bootserve.wire.pxe import ClientArch

__all__ = ["NbpShelf"]

_ARCHES: Final = {
    ClientArch.BIOS: NbpArch.BIOS,
    ClientArch.EFI_X64: NbpArch.X64,
    ClientArch.EFI_ARM64: NbpArch.ARM64,
}
_HELD: Final = 8


class NbpShelf:
    """The NBPs of the current snapshot, whose files are in the artifact store.

    ``other`` reads what is not asked for by a digest. A few NBPs are held in memory, each verified
    when it is read and read again when its file changes.
    """

    def __init__(
        self, current: Current, artifacts: ArtifactStore, other: Callable[[str], bytes]
    ) -> None:
        self._current = current
        self._artifacts = artifacts
        self._other = other
        self._held: dict[str, tuple[tuple[int, int], bytes]] = {}

    def pinned(self, plan: NodePlan, arch: ClientArch) -> PinnedNbp | None:
        """Return what is pinned for the node of ``plan`` when its firmware is ``arch``.

        One whose file is gone or in quarantine is a problem, and gives way to no other.
        """
        snapshot, kind = self._current.snapshot, _ARCHES.get(arch)
        if kind is None:
            return None
        choice = pinned_nbp(snapshot.state, plan.node, snapshot.nbps, kind)
        if choice is None:
            return None
        own = choice.pin.scope.kind == "node"
        if choice.nbp is None:
            return PinnedNbp("", own, choice.problem)
        if not self._artifacts.has(choice.nbp.digest):
            problem = f"NBP {choice.nbp.name}, pinned at {choice.pin.scope}, is not in the store"
            return PinnedNbp("", own, problem)
        return PinnedNbp(choice.nbp.path, own)

    def find(self, digest: str, name: str) -> Path:
        """Return the file of the NBP ``name`` with ``digest``; raises NotFound."""
        nbp = self._current.snapshot.nbps.get(name)
        if nbp is None or nbp.digest != digest or nbp.removed_at is not None:
            raise NotFound(f"there is no NBP {name[:60]!r} with this digest")
        return self._path(nbp)

    def _path(self, nbp: Nbp) -> Path:
        path = self._artifacts.path(nbp.digest)
        if path is None:
            raise NotFound(f"the NBP {nbp.name} is not in the store")
        return path

    def read(self, name: str) -> bytes:
        """Return the bytes of an NBP, by the name that it is offered by.

        Raises NotFound, and IntegrityError when its file has not its digest.
        """
        if not name.startswith("sha256/"):
            return self._other(name)
        digest, _, plain = name.removeprefix("sha256/").partition("/")
        path = self.find(digest, plain)
        try:
            status = path.stat()
            version = (status.st_mtime_ns, status.st_size)
            held = self._held.get(digest)
            if held is None or held[0] != version:
                held = (version, self._verified(path, digest, plain))
                self._hold(digest, held)
        except OSError as error:
            raise NotFound(f"the NBP {plain} cannot be read: {error.strerror}") from None
        return held[1]

    @staticmethod
    def _verified(path: Path, digest: str, name: str) -> bytes:
        data = path.read_bytes()
        if sha256(data).hexdigest() != digest:
            raise IntegrityError(f"the file of NBP {name} has not its digest")
        return data

    def _hold(self, digest: str, held: tuple[tuple[int, int], bytes]) -> None:
        while len(self._held) >= _HELD:
            del self._held[next(iter(self._held))]
        self._held[digest] = held

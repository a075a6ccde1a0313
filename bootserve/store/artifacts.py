"""The artifact store: immutable files named by the sha256 of their content."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bootserve.errors import BootserveError, Conflict, IntegrityError, InvalidInput, NotFound
from bootserve.model.generation import canonical_json
from bootserve.store.files import os_errors, sync_directory, write_atomic
from bootserve.store.upload import Upload

__all__ = ["ArtifactStore", "DirectoryStore", "Scrubbed", "check_digest"]

_MACHINE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
_DIGEST = re.compile(r"[0-9a-f]{64}")
_BLOCK = 1 << 20


def check_digest(digest: str) -> str:
    """Return ``digest`` when it is 64 lower-case hex digits; raises InvalidInput otherwise."""
    if not _DIGEST.fullmatch(digest):
        raise InvalidInput(
            f"{digest[:70]!r} is not a sha256 digest", hint="Write 64 lower-case hex digits."
        )
    return digest


@dataclass(frozen=True, slots=True)
class Scrubbed:
    """What was found of one artifact; ``reason`` says why one that is not intact is not."""

    digest: str
    intact: bool
    reason: str = ""


class ArtifactStore(Protocol):
    """Where artifacts are kept. Every method may block: servers call them in a thread.

    Each method that takes a digest raises InvalidInput when it is not one.
    """

    def path(self, digest: str) -> Path | None:
        """Return the file to send, or None when the artifact is not there."""

    def has(self, digest: str) -> bool:
        """Whether the artifact is there."""

    def size(self, digest: str) -> int:
        """Return its size in bytes; raises NotFound."""

    def list(self) -> Sequence[str]:
        """Return the digests of all artifacts, sorted."""

    def upload_offset(self, digest: str) -> int:
        """Return how many bytes of it have been received; its size when it is complete."""

    def append(self, digest: str, offset: int, chunk: bytes) -> int:
        """Write the bytes that belong at ``offset`` and return the offset of the next ones."""

    def finish(self, digest: str, size: int) -> None:
        """Verify what was received and make it an artifact."""

    def abort(self, digest: str) -> None:
        """Drop what was received of an artifact that is not complete."""

    def delete(self, digest: str) -> None:
        """Delete the artifact, and what is in quarantine of it; without effect on neither."""

    def verify(self, digest: str) -> bool:
        """Whether the artifact's bytes have its digest; raises NotFound."""

    def check(self, digest: str) -> Scrubbed:
        """Verify the artifact and quarantine it when it fails; raises NotFound."""

    def scrub(self) -> Iterator[Scrubbed]:
        """Check every artifact, one a step."""

    def quarantined(self) -> Sequence[str]:
        """Return the digests in quarantine that no good artifact has replaced, sorted."""

    def touched(self, digest: str) -> float:
        """Return when the last byte of the artifact came, in epoch seconds; 0 without one."""

    def uploads(self) -> Mapping[str, float]:
        """Return the uploads that are not complete, and when the last byte of each came."""

    def prune_uploads(self, before: float) -> Sequence[str]:
        """Drop uploads untouched since ``before`` and return their digests."""


class DirectoryStore:
    """Artifacts in ``ROOT/sha256/ab/abcd…``, uploads in ``partial``, bad ones in ``quarantine``.

    Every method may block on the disk: call them in a thread. They may run in several threads at
    once; two uploads of one digest take turns, and the one whose offset is no longer right gets
    Conflict. A file appears under ``sha256`` only when verified and durable. Each method raises
    InvalidInput for a malformed digest, and Refused, StorageFull or Unavailable when the file
    system refuses.
    """

    def __init__(self, root: Path) -> None:
        self._files = root / "sha256"
        self._partial = root / "partial"
        self._quarantine = root / "quarantine"
        self._uploads: dict[str, Upload] = {}
        self._lock = threading.Lock()
        with os_errors(f"opening the artifact store {root}"):
            for directory in (self._files, self._partial, self._quarantine):
                directory.mkdir(mode=0o755, parents=True, exist_ok=True)

    def _file(self, digest: str) -> Path:
        return self._files / check_digest(digest)[:2] / digest

    def path(self, digest: str) -> Path | None:
        """Return the file to send, or None when the artifact is not there (or quarantined)."""
        file = self._file(digest)
        return file if file.is_file() else None

    def has(self, digest: str) -> bool:
        """Whether the artifact is there."""
        return self.path(digest) is not None

    def size(self, digest: str) -> int:
        """Return its size in bytes; raises NotFound."""
        return self._existing(digest).stat().st_size

    def _existing(self, digest: str) -> Path:
        file = self.path(digest)
        if file is None:
            raise NotFound(f"no artifact has the digest {digest}")
        return file

    def list(self) -> Sequence[str]:
        """Return the digests of all artifacts, sorted."""
        with os_errors(f"listing {self._files}"):
            return sorted(p.name for p in self._files.glob("??/*") if _DIGEST.fullmatch(p.name))

    def upload_offset(self, digest: str) -> int:
        """Return how many bytes of it have been received; its size when it is complete."""
        file = self.path(digest)
        if file is not None:
            return file.stat().st_size
        return Upload(self._partial / digest).offset()

    def _upload(self, digest: str) -> Upload:
        with self._lock:
            if digest not in self._uploads:
                self._uploads[digest] = Upload(self._partial / check_digest(digest))
            return self._uploads[digest]

    def _forget(self, digest: str) -> None:
        with self._lock:
            self._uploads.pop(digest, None)

    def append(self, digest: str, offset: int, chunk: bytes) -> int:
        """Write the bytes that belong at ``offset`` and return the offset of the next ones.

        Raises Conflict when ``offset`` is not where the upload stands or the artifact is complete,
        and StorageFull when there is no room: the whole upload is then undone.
        """
        if self.has(digest):
            raise Conflict(f"the artifact {digest} is complete already")
        upload = self._upload(digest)
        with self._undone_unless_resumable(digest):
            return upload.append(offset, chunk)

    @contextlib.contextmanager
    def _undone_unless_resumable(self, digest: str) -> Iterator[None]:
        try:
            with os_errors(f"receiving the artifact {digest}"):
                yield
        except Conflict:
            raise
        except BootserveError:
            self.abort(digest)
            raise

    def finish(self, digest: str, size: int) -> None:
        """Verify what was received against ``digest`` and ``size`` and make it an artifact.

        On return it is durable. Without effect when the artifact is there already. Raises Conflict
        when bytes are still to come (the upload can go on), and IntegrityError, StorageFull or
        Unavailable, after which nothing is left of the upload.
        """
        file = self.path(digest)
        if file is not None:
            if file.stat().st_size != size:
                raise IntegrityError(f"the artifact {digest} has not {size} bytes")
            return
        with self._undone_unless_resumable(digest):
            try:
                self._finish(digest, size)
            except Conflict:
                if not self.has(digest):  # another thread may have finished it meanwhile
                    raise
        self._forget(digest)

    def _finish(self, digest: str, size: int) -> None:
        target = self._file(digest)
        new_directory = not target.parent.exists()
        target.parent.mkdir(mode=0o755, exist_ok=True)
        self._upload(digest).finish(digest, size, target)
        sync_directory(target.parent)
        if new_directory:
            sync_directory(self._files)

    def abort(self, digest: str) -> None:
        """Drop what was received of an artifact that is not complete."""
        self._upload(digest).discard()
        self._forget(digest)

    def delete(self, digest: str) -> None:
        """Delete the artifact, and what is in quarantine of it; without effect on neither.

        Nodes that are fetching it get it to its end.
        """
        file = self._file(digest)
        bad = self._quarantine / digest
        with os_errors(f"deleting the artifact {digest}"):
            for path in (file, bad, self._note(digest)):
                with contextlib.suppress(FileNotFoundError):
                    path.unlink()
                    sync_directory(path.parent)

    def verify(self, digest: str) -> bool:
        """Whether the artifact's bytes have its digest; raises NotFound, Unavailable."""
        file = self._existing(digest)
        with os_errors(f"reading the artifact {digest}"):
            return _sha256(file) == digest

    def check(self, digest: str) -> Scrubbed:
        """Verify the artifact, and take it out of service when it fails.

        A bad one is moved to ``quarantine`` with a note beside it (``DIGEST.note``, JSON) and is no
        longer served; importing it again puts a good one in its place. Raises NotFound, and
        Unavailable where the machine lacks what reading takes, which says nothing of the artifact.
        """
        file = self._existing(digest)
        try:
            before = file.stat()
            found = _sha256(file)
        except FileNotFoundError:
            raise NotFound(f"no artifact has the digest {digest}") from None
        except OSError as error:
            if error.errno in _MACHINE:
                with os_errors(f"reading the artifact {digest}"):
                    raise
            return self._set_aside(file, f"it cannot be read: {error.strerror}")
        if found == digest:
            return Scrubbed(digest, True)
        reason = f"its bytes have the sha256 {found}"
        with contextlib.suppress(FileNotFoundError):
            if not os.path.samestat(before, file.stat()):
                return self.check(digest)  # an import has put another in its place meanwhile
        return self._set_aside(file, reason)

    def scrub(self) -> Iterator[Scrubbed]:
        """Check every artifact, one a step.

        The caller sets the pace by when it takes the next step, and may do so in a thread. An
        artifact that vanishes meanwhile is passed over.
        """
        for digest in self.list():
            with contextlib.suppress(NotFound):
                yield self.check(digest)

    def _note(self, digest: str) -> Path:
        return self._quarantine / f"{digest}.note"

    def _set_aside(self, file: Path, reason: str) -> Scrubbed:
        digest = file.name
        with (
            os_errors(f"quarantining the artifact {digest}"),
            contextlib.suppress(
                FileNotFoundError  # another check was first
            ),
        ):
            size = file.stat().st_size
            file.replace(self._quarantine / digest)
            sync_directory(file.parent)
            note = {"digest": digest, "reason": reason, "size": size}
            with contextlib.suppress(OSError):
                # The note may lack room; that the bytes are out of reach is what counts.
                write_atomic(self._note(digest), canonical_json(note), 0o644)
        return Scrubbed(digest, False, reason)

    def quarantined(self) -> Sequence[str]:
        """Return the digests in quarantine that no good artifact has replaced, sorted."""
        with os_errors(f"listing {self._quarantine}"):
            found = (path.name for path in self._quarantine.iterdir())
            return sorted(n for n in found if _DIGEST.fullmatch(n) and not self.has(n))

    def touched(self, digest: str) -> float:
        """Return when the last byte of the artifact came, in epoch seconds; 0 without one.

        One in quarantine counts.
        """
        for file in (self._file(digest), self._quarantine / digest):
            with os_errors(f"looking at {file}"), contextlib.suppress(FileNotFoundError):
                return file.stat().st_mtime
        return 0.0

    def uploads(self) -> Mapping[str, float]:
        """Return the uploads that are not complete, and when the last byte of each came.

        Times are in seconds since the epoch. Raises Refused or Unavailable when the directory
        cannot be read.
        """
        found = {}
        with os_errors(f"listing {self._partial}"):
            for path in self._partial.iterdir():
                if _DIGEST.fullmatch(path.name):
                    with contextlib.suppress(FileNotFoundError):  # it has just become whole
                        found[path.name] = path.stat().st_mtime
        return found

    def prune_uploads(self, before: float) -> Sequence[str]:
        """Drop uploads untouched since ``before`` (seconds since the epoch), return their digests.

        Raises Refused or Unavailable when the directory cannot be read.
        """
        stale = sorted(digest for digest, at in self.uploads().items() if at < before)
        for digest in stale:
            self.abort(digest)
        return stale


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    buffer = bytearray(_BLOCK)
    with open(file, "rb", buffering=0) as source:
        os.posix_fadvise(source.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
        while count := source.readinto(buffer):
            digest.update(memoryview(buffer)[:count])
    return digest.hexdigest()

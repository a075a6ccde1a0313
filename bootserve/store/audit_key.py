"""The key that signs the audit log: made once, in a file that only the server can read."""

from __future__ import annotations

from pathlib import Path

from bootserve.core.audit_sign import Signer, new_key
from bootserve.errors import BootserveError, InvalidInput
from bootserve.store.files import os_errors, write_atomic

__all__ = ["KEY_FILE", "PUBLIC_FILE", "open_key"]

KEY_FILE = "audit.key"
PUBLIC_FILE = "audit.pub"


def open_key(directory: Path) -> Signer:
    """Return the key in ``directory``, made there with mode 0600 if there is none.

    Its public half lies beside it, for everyone. Raises InvalidInput for a damaged file, and
    Refused, StorageFull or Unavailable when it cannot be read or written.
    """
    path = directory / KEY_FILE
    with os_errors(f"opening {path}"):
        try:
            pem = path.read_bytes()
        except FileNotFoundError:
            pem = new_key()
            write_atomic(path, pem, 0o600)
    try:
        signer = Signer(pem)
    except BootserveError as error:
        raise InvalidInput(
            f"{path}: {error}",
            hint="Restore it from a backup; or move it away, and a new one is made at the start.",
        ) from None
    public = directory / PUBLIC_FILE
    text = signer.public_pem.encode()
    with os_errors(f"writing {public}"):
        if not public.exists() or public.read_bytes() != text:
            write_atomic(public, text, 0o644)
    return signer

"""The error tree: what can go wrong, and how each plane says so.

::

    BootserveError
    ├── InvalidInput          the caller's words or bytes are malformed
    │   ├── PacketError       a datagram that is not what its port expects
    │   └── ManifestError     a manifest that does not parse or contradicts itself
    ├── NotFound              no such node, generation, artifact, file
    ├── Refused               understood and not allowed
    │   └── Unauthorized      the caller has not said who it is
    ├── Conflict              the state is not what the request assumed
    │   └── PreconditionFailed  it is not the one that the request named
    ├── IntegrityError        bytes whose digest is not the one promised
    ├── Unresolvable          a pin that cannot be followed to a generation
    ├── StorageFull           no room; what was begun is undone
    └── Unavailable           a part that is needed is away, try again
"""

from __future__ import annotations

__all__ = [
    "BootserveError",
    "Conflict",
    "IntegrityError",
    "InvalidInput",
    "ManifestError",
    "NotFound",
    "PacketError",
    "PreconditionFailed",
    "Refused",
    "StorageFull",
    "Unauthorized",
    "Unavailable",
    "Unresolvable",
]


class BootserveError(Exception):
    """Base of every error that this package raises on purpose.

    ``str(error)`` is a sentence for the person who caused it; ``hint`` says what to do next.
    ``http_status`` and ``tftp_code`` (RFC 1350 section 5) are how each plane reports it; ``kind``
    is the stable name in a problem+json ``type`` (RFC 9457), ``members`` what that document says
    besides, as JSON.
    """

    http_status = 500
    tftp_code = 0
    kind = "internal"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint
        self.members: dict[str, object] = {}


class InvalidInput(BootserveError):
    """The caller's words or bytes are malformed."""

    http_status = 400
    tftp_code = 4
    kind = "invalid-input"


class PacketError(InvalidInput):
    """A datagram that is not what its port expects."""

    kind = "invalid-packet"


class ManifestError(InvalidInput):
    """A manifest that does not parse or contradicts itself."""

    kind = "invalid-manifest"


class NotFound(BootserveError):
    """What was named does not exist."""

    http_status = 404
    tftp_code = 1
    kind = "not-found"


class Refused(BootserveError):
    """The request was understood and is not allowed."""

    http_status = 403
    tftp_code = 2
    kind = "refused"


class Unauthorized(Refused):
    """The caller has not said who it is."""

    http_status = 401
    kind = "unauthorized"


class Conflict(BootserveError):
    """The state is not what the request assumed."""

    http_status = 409
    kind = "conflict"


class PreconditionFailed(Conflict):
    """The state has moved on from the revision that the request was thought up against."""

    http_status = 412
    kind = "precondition-failed"


class IntegrityError(BootserveError):
    """Bytes whose digest is not the one promised."""

    http_status = 422
    kind = "integrity"


class Unresolvable(BootserveError):
    """A pin that cannot be followed to a generation; the node must not boot anything else."""

    http_status = 409
    kind = "unresolvable"


class StorageFull(BootserveError):
    """No room; what was begun has been undone."""

    http_status = 507
    tftp_code = 3
    kind = "storage-full"


class Unavailable(BootserveError):
    """A part that is needed is away; the same request may succeed later."""

    http_status = 503
    kind = "unavailable"

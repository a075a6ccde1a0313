"""TLS of the admin listener: its certificate, read again at a reload, and the names in it."""

from __future__ import annotations

import ssl
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509

from bootserve.errors import InvalidInput
from bootserve.settings import Settings

__all__ = ["Tls", "check_admin_address", "open_tls"]


class Tls:
    """A certificate with its key, for TLS 1.2 and later.

    ``context`` serves what was read last; connections that are open keep what they began with.
    """

    def __init__(self, cert: Path, key: Path) -> None:
        """Read both PEM files; raises InvalidInput for what cannot be served."""
        self._cert = cert
        self._key = key
        self.names = self._check()
        self.context = _new_context()
        self.context.load_cert_chain(cert, key)

    def _check(self) -> frozenset[str]:
        """Return the names of the certificate in the files as they are now."""
        try:
            text = self._cert.read_bytes()
            self._key.read_bytes()
        except OSError as error:
            raise InvalidInput(
                f"cannot read {error.filename}: {error.strerror}",
                hint="The user that the server runs as must be able to read it.",
            ) from None
        try:
            _new_context().load_cert_chain(self._cert, self._key, password=_no_password)
        except (ssl.SSLError, ValueError) as error:
            raise InvalidInput(
                f"{self._cert} and {self._key} are no certificate and its key: {error}",
                hint="Both are PEM; the key has no password.",
            ) from None
        return _names(self._cert, text)

    def reload(self) -> None:
        """Read the files again; raises InvalidInput, and what was served before still is."""
        names = self._check()
        self.context.load_cert_chain(self._cert, self._key)
        self.names = names

    def has(self, host: str) -> bool:
        """Whether the certificate is for ``host``, a name or an address."""
        host = host.lower()
        return host in self.names or f"*.{host.partition('.')[2]}" in self.names


def _no_password() -> str:
    raise ValueError("the key is encrypted")


def _new_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _names(path: Path, text: bytes) -> frozenset[str]:
    certificate = x509.load_pem_x509_certificates(text)[0]
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        raise InvalidInput(
            f"the certificate {path} names no host (subjectAltName)",
            hint="Clients check it: make one that names this server.",
        ) from None
    names = found.get_values_for_type(x509.DNSName)
    addresses = found.get_values_for_type(x509.IPAddress)
    return frozenset([*(one.lower() for one in names), *map(str, addresses)])


def check_admin_address(settings: Settings) -> None:
    """Raise InvalidInput when the admin API would be reachable from elsewhere without TLS."""
    if (settings.admin_tls_cert is None) != (settings.admin_tls_key is None):
        raise InvalidInput("admin_tls_cert and admin_tls_key go together: give both")
    local = IPv4Address(settings.admin_address).is_loopback
    if settings.admin_port and not local and settings.admin_tls_cert is None:
        raise InvalidInput(
            f"admin_address {settings.admin_address} is not loopback, and there is no TLS",
            hint="Give admin_tls_cert and admin_tls_key, or leave it at 127.0.0.1.",
        )


def open_tls(settings: Settings) -> Tls | None:
    """Return the TLS that ``settings`` ask for, None for none; raises InvalidInput."""
    if settings.admin_tls_cert is None or settings.admin_tls_key is None:
        return None
    return Tls(settings.admin_tls_cert, settings.admin_tls_key)

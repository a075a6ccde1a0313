"""What the claims of a user's token come to: bindings, by rules of the settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from bootserve.errors import InvalidInput
from bootserve.model.access import AccessRole, Binding, parse_access_scope

__all__ = ["ClaimRule", "believed", "bindings_from", "check_provider_url", "parse_rule"]


@dataclass(frozen=True, slots=True)
class ClaimRule:
    """A user whose ``claim`` is or contains ``value`` has ``binding``; ``*`` is any value."""

    claim: str
    value: str
    binding: Binding

    def fits(self, claims: Mapping[str, Any]) -> bool:
        """Whether ``claims`` satisfy the rule."""
        found = claims.get(self.claim)
        if found is None:
            return False
        values = found if isinstance(found, list) else [found]
        return self.value == "*" or any(isinstance(v, str) and v == self.value for v in values)


def parse_rule(text: str) -> ClaimRule:
    """Return the rule written ``CLAIM=VALUE ROLE SCOPE``; raises InvalidInput otherwise."""
    words = text.split()
    if len(words) == 3:
        claim, equals, value = words[0].partition("=")
        if claim and equals and value and words[1] in list(AccessRole):
            return ClaimRule(
                claim, value, Binding(AccessRole(words[1]), parse_access_scope(words[2]))
            )
    raise InvalidInput(
        f"{text[:80]!r} is no rule",
        hint="Write CLAIM=VALUE ROLE SCOPE: groups=netops operator rack/r12.",
    )


def check_provider_url(url: str) -> str:
    """Return ``url``, of a provider that may be believed: over TLS, or on this machine.

    Raises InvalidInput for any other.
    """
    parts = urlsplit(url)
    local = parts.hostname in ("localhost", "127.0.0.1", "::1")
    if not parts.hostname or (parts.scheme != "https" and not (parts.scheme == "http" and local)):
        raise InvalidInput(f"{url[:200]!r} is no provider's URL", hint="It begins with https://.")
    return url


def believed(claims: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return ``claims`` without an email that the provider has not verified.

    At many providers a user may write any address in, another's too. OpenID Connect Core 5.1 says
    by ``email_verified`` that it is the user's own; a provider that leaves it out does not say so.
    Some write it as a string.
    """
    if claims.get("email_verified") in (True, "true"):
        return claims
    return {name: value for name, value in claims.items() if name != "email"}


def bindings_from(rules: Iterable[ClaimRule], claims: Mapping[str, Any]) -> tuple[Binding, ...]:
    """Return the bindings of a user with ``claims``."""
    return tuple(dict.fromkeys(rule.binding for rule in rules if rule.fits(claims)))

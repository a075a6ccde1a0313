"""Where an image's packages come from: the definition's mirror, else this machine's own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bootserve.build.definition import Definition
from bootserve.build.run import output_of
from bootserve.errors import Unavailable

__all__ = ["IndexTarget", "Source", "host_targets", "sources_for"]

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

_FORMAT = "$(REPO_URI)|$(CODENAME)|$(ORIGIN)|$(COMPONENT)"
_POCKETS = ("", "-updates", "-security")
# before bookworm, firmware was in non-free
_WITHOUT_FIRMWARE_COMPONENT = frozenset({"buster", "bullseye"})


@dataclass(frozen=True, slots=True)
class IndexTarget:
    """One package index that this machine's apt uses: its repository, codename and origin."""

    uri: str
    codename: str
    origin: str
    component: str


@dataclass(frozen=True, slots=True)
class Source:
    """One apt source: an archive's URL, a suite and its components."""

    uri: str
    suite: str
    components: tuple[str, ...]

    def line(self) -> str:
        """Return it as a line of sources.list, trusting Debian's archive keys alone."""
        return f"deb [signed-by={KEYRING}] {self.uri} {self.suite} {' '.join(self.components)}"


def host_targets() -> list[IndexTarget]:
    """Return the package indexes of this machine's apt, from ``apt-get indextargets``.

    Raises Unavailable when there is no apt here.
    """
    lines = output_of(["apt-get", "indextargets", "--format", _FORMAT, "Identifier: Packages"])
    fields = (line.split("|") for line in lines.splitlines())
    return [IndexTarget(*field) for field in fields if len(field) == 4]


def sources_for(definition: Definition, targets: Iterable[IndexTarget]) -> list[Source]:
    """Return the sources of ``definition``.

    Its own mirrors when it names them; otherwise those among ``targets`` whose Origin is Debian,
    in the definition's distribution with ``-updates`` and ``-security`` as far as this machine has
    them. A machine of another release lends its sites: its codename is put for the definition's.

    Raises Unavailable when no source of Debian is left.
    """
    components = _components(definition)
    if definition.mirror is not None:
        return _named_sources(definition, components)
    debian = [target for target in targets if target.origin == "Debian"]
    release = _release_to_use(definition.distribution, debian)
    found: dict[tuple[str, str], Source] = {}
    for target in debian:
        base, pocket = _split(target.codename)
        if base == release:
            suite = definition.distribution + pocket
            found[target.uri, suite] = Source(target.uri, suite, components)
    if not found:
        raise Unavailable(
            "this machine's apt has no source of Debian",
            hint='Name one in image.toml: mirror = "http://mirror.example/debian".',
        )
    return list(found.values())


def _components(definition: Definition) -> tuple[str, ...]:
    if definition.kernel != "generic":
        return ("main",)
    old = definition.distribution in _WITHOUT_FIRMWARE_COMPONENT
    return ("main", "non-free") if old else ("main", "non-free-firmware")


def _named_sources(definition: Definition, components: tuple[str, ...]) -> list[Source]:
    assert definition.mirror is not None
    suites = (definition.distribution, f"{definition.distribution}-updates")
    sources = [Source(definition.mirror, suite, components) for suite in suites]
    if definition.security_mirror is not None:
        suite = f"{definition.distribution}-security"
        sources.append(Source(definition.security_mirror, suite, components))
    return sources


def _split(codename: str) -> tuple[str, str]:
    for pocket in _POCKETS[1:]:
        if codename.endswith(pocket):
            return codename.removesuffix(pocket), pocket
    return codename, ""


def _release_to_use(wanted: str, targets: list[IndexTarget]) -> str:
    releases = [base for base, pocket in (_split(t.codename) for t in targets) if not pocket]
    if wanted in releases or not releases:
        return wanted
    # backports and the like are no release of their own
    plain = [name for name in releases if "-" not in name]
    return plain[0] if plain else wanted

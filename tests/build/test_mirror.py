"""Which apt sources an image is built from."""

from __future__ import annotations

import pytest

from bootserve.build.definition import Definition
from bootserve.build.mirror import IndexTarget, Source, host_targets, sources_for
from bootserve.errors import Unavailable

HERE = "http://mirror.example/debian/"
SECURITY = "http://security.example/debian-security/"


def definition(**fields: object) -> Definition:
    given = {"name": "x", "distribution": "bookworm", "kernel": "cloud", "packages": ()}
    return Definition.model_validate({**given, **fields})


def targets(release: str) -> list[IndexTarget]:
    return [
        IndexTarget("https://third.example/apt/", "stable", "Third", "main"),
        IndexTarget("https://third.example/b/", "bookworm", "Third", "main"),
        IndexTarget(HERE, release, "Debian", "main"),
        IndexTarget(HERE, release, "Debian", "contrib"),
        IndexTarget(HERE, f"{release}-updates", "Debian", "main"),
        IndexTarget(HERE, f"{release}-backports", "Debian Backports", "main"),
        IndexTarget(SECURITY, f"{release}-security", "Debian", "main"),
    ]


@pytest.mark.parametrize("release", ["bookworm", "trixie"])
def test_this_machines_debian_is_used_whatever_its_release(release: str) -> None:
    assert sources_for(definition(), targets(release)) == [
        Source(HERE, "bookworm", ("main",)),
        Source(HERE, "bookworm-updates", ("main",)),
        Source(SECURITY, "bookworm-security", ("main",)),
    ]


def test_the_exact_release_is_preferred() -> None:
    both = [IndexTarget("http://old.example/", "bullseye", "Debian", "main"), *targets("bookworm")]
    assert [source.uri for source in sources_for(definition(), both)] == [HERE, HERE, SECURITY]


@pytest.mark.parametrize(
    ("distribution", "component"), [("bookworm", "non-free-firmware"), ("bullseye", "non-free")]
)
def test_a_generic_kernel_gets_firmware(distribution: str, component: str) -> None:
    wanted = definition(kernel="generic", distribution=distribution)
    found = sources_for(wanted, targets(distribution))
    assert [source.suite for source in found] == [
        distribution,
        f"{distribution}-updates",
        f"{distribution}-security",
    ]
    assert [source.components for source in found] == [("main", component)] * 3


def test_a_named_mirror_takes_the_place_of_this_machines() -> None:
    wanted = definition(mirror="http://m.example/d", security_mirror="http://s.example/s")
    assert [(s.uri, s.suite) for s in sources_for(wanted, targets("bookworm"))] == [
        ("http://m.example/d", "bookworm"),
        ("http://m.example/d", "bookworm-updates"),
        ("http://s.example/s", "bookworm-security"),
    ]


def test_no_debian_is_told_with_what_to_do() -> None:
    with pytest.raises(Unavailable, match="no source of Debian") as caught:
        sources_for(definition(), targets("bookworm")[:2])
    assert "mirror =" in caught.value.hint


def test_packages_are_trusted_by_debians_keys_alone() -> None:
    line = Source(HERE, "bookworm", ("main",)).line()
    assert line == (
        f"deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {HERE} bookworm main"
    )


def test_this_machines_apt_is_read() -> None:
    assert any(target.origin == "Debian" for target in host_targets())

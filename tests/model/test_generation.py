"""Manifests: one byte string for one content, and nothing else taken."""

from __future__ import annotations

import json

import pytest

from bootserve.errors import InvalidInput, ManifestError
from bootserve.model.generation import GenerationRef, parse_manifest
from tests.support.states import manifest


def test_a_manifest_reads_back_and_keeps_its_digest() -> None:
    one = manifest(cmdline="quiet", packages={"b": "2", "a": "1"}, writable=("/var/lib/x",))
    again = parse_manifest(one.to_bytes())
    assert (again, again.digest) == (one, one.digest)
    other = manifest(cmdline="quiet", packages={"a": "1", "b": "2"}, writable=("/var/lib/x",))
    assert other.digest == one.digest


@pytest.mark.parametrize("field", ["number", "built_at", "builder", "mirror"])
def test_a_manifest_holds_no_number_time_builder_or_mirror(field: str) -> None:
    data = json.loads(manifest().to_bytes())
    data[field] = 1
    with pytest.raises(ManifestError, match=field):
        parse_manifest(json.dumps(data, sort_keys=True, separators=(",", ":")).encode())


def changed(**fields: object) -> bytes:
    data = {**json.loads(manifest().to_bytes()), **fields}
    return json.dumps(data, sort_keys=True, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b"null",
        manifest().to_bytes() + b"\n",
        json.dumps(json.loads(manifest().to_bytes())).encode(),
        changed(image="../x"),
        changed(image="A"),
        changed(format=2),
        changed(arch="mips"),
        changed(artifacts={}),
        changed(artifacts={"kernel": {"sha256": "x", "size": 1}}),
        changed(overlay_size="all"),
        changed(overlay_size="0%"),
        changed(cmdline="a || b"),
        changed(cmdline="ä"),
        changed(verity_root_hash="x"),
        changed(min_memory_mib=-1),
        b"[" * 100_000,
        b" " * (5 << 20),
    ],
)
def test_a_broken_manifest_is_refused(data: bytes) -> None:
    with pytest.raises(ManifestError):
        parse_manifest(data)


def test_references() -> None:
    assert str(GenerationRef.parse("k8s-node@41")) == "k8s-node@41"
    for text in ("", "k8s-node", "k8s-node@", "@1", "a@0", "a@-1", "a@01", "a@1@2", "A@1", "a@1e3"):
        with pytest.raises(InvalidInput):
            GenerationRef.parse(text)

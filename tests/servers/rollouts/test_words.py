"""What nodes said before a restart, and what of it makes a generation a good one."""

from __future__ import annotations

import pytest

from bootserve.core.heartbeats import HeartbeatBook
from bootserve.model.generation import GenerationRef
from bootserve.model.rollout import Sighting
from bootserve.servers.rollouts.words import NodeWords
from tests.support.states import generation

KNOWN = generation("web@2")
ROOT = KNOWN.manifest.artifacts["root"].sha256


@pytest.mark.parametrize(
    ("ref", "root", "good"),
    [
        (KNOWN.ref, ROOT, KNOWN.ref),
        (KNOWN.ref, "0" * 64, None),
        (KNOWN.ref, "", None),
        (GenerationRef("web", 9), ROOT, None),
    ],
    ids=["its own", "another", "none named", "no such generation"],
)
def test_a_generation_is_good_with_its_own_root(
    ref: GenerationRef, root: str, good: GenerationRef | None
) -> None:
    words = NodeWords(HeartbeatBook(), lambda: {KNOWN.ref: KNOWN})
    said = Sighting(boot="b", minted_at=1.0, generation=ref, up_at=2.0, root=root)
    words.restore({"n1": said})
    assert words.good("n1") == good
    assert words.of("n1") == said
    assert words.good("n2") is None

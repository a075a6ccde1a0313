"""What nodes said before a restart, and what of it makes a generation a good one."""

from __future__ import annotations

import pytest

from bootserve.core.heartbeats import HeartbeatBook, Running
from bootserve.model.drift import Heartbeat
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


def test_what_a_node_says_now_counts_and_when_it_came_up() -> None:
    book = HeartbeatBook()
    words = NodeWords(book, lambda: {KNOWN.ref: KNOWN})
    boot = f"{1500:012x}{7:020x}"
    words.restore({"n1": Sighting(boot, 1.5, KNOWN.ref, up_at=20.0, root=ROOT)})
    running = Running("n1", boot, KNOWN.ref, KNOWN.digest, ROOT, "t", up_since=90.0, last_seen=90.0)
    book.put(running)
    book.heard(running, Heartbeat("web@2", "", 80.0), 60.0, 100.0)
    said = words.of("n1")
    assert said == Sighting(boot, 1.5, KNOWN.ref, up_at=20.0, root="", heard_at=100.0, agent=True)

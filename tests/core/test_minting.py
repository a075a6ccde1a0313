"""New boot or retry of the last."""

from __future__ import annotations

from bootserve.core.minting import Minter
from bootserve.model.boot import Boot
from bootserve.model.generation import GenerationRef
from tests.support.states import MAC

HERE = "10.0.0.9"


def boot(number: int, at: float) -> Boot:
    return Boot(str(number), "n1", MAC, GenerationRef("web", 1), "d1", 1, at, HERE)


def test_a_retry_within_five_seconds_gets_the_same_boot() -> None:
    minter = Minter()
    assert minter.retried(MAC, "d1", HERE, 100.0) is None
    minter.minted(boot(1, 100.0))
    assert minter.retried(MAC, "d1", HERE, 104.9) == boot(1, 100.0)
    assert minter.retried(MAC, "d1", HERE, 105.0) is None
    assert minter.retried(MAC, "d1", HERE, 99.0) is None  # a clock that was set


def test_a_pin_or_address_that_changed_in_between_makes_a_new_boot() -> None:
    minter = Minter()
    minter.minted(boot(1, 100.0))
    assert minter.retried(MAC, "d2", HERE, 101.0) is None
    assert minter.retried(MAC, "d1", "10.0.0.10", 101.0) is None
    assert minter.retried("52:54:00:00:00:02", "d1", HERE, 101.0) is None


def test_what_is_no_node_any_more_is_forgotten() -> None:
    minter = Minter()
    minter.minted(boot(1, 100.0))
    minter.forget_all_but({"52:54:00:00:00:02"})
    assert minter.retried(MAC, "d1", HERE, 101.0) is None

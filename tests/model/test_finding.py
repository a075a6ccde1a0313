from __future__ import annotations

from bootserve.model.finding import Finding, Level, worst


def test_the_worst_of_several() -> None:
    ok, warning, error = (Finding(level, "x", "y") for level in Level)
    assert worst([]) is Level.OK
    assert worst([ok, warning, ok]) is Level.WARNING
    assert worst([warning, error, ok]) is Level.ERROR

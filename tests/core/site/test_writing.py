"""A site file that is written says the state it was written from, and is short."""

from __future__ import annotations

from hypothesis import given, settings

from bootserve.core.site.changes import changes_between
from bootserve.core.site.loading import load_site
from bootserve.core.site.writing import write_site
from bootserve.model.desired import DesiredState
from tests.support.sites import states


@settings(max_examples=60, deadline=None)
@given(states())
def test_what_is_written_reads_back_as_the_same(desired: DesiredState) -> None:
    text = write_site(desired)
    again = load_site(text, "site.yaml").over(DesiredState())
    assert again == desired
    assert not changes_between(desired, load_site(text, "site.yaml").over(desired))
    assert write_site(again) == text

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootserve.core.recent import Recent


def test_values_are_put_got_and_forgotten() -> None:
    table: Recent[int] = Recent(10)
    table.put("a", 1)
    table.put("a", 2)
    assert (table.get("a"), table.get("b"), len(table)) == (2, None, 1)
    assert (table.pop("a"), table.pop("a"), len(table)) == (2, None, 0)


def test_what_was_forgotten_does_not_come_back_from_the_old_half() -> None:
    table: Recent[int] = Recent(2)
    table.put("a", 1)
    table.put("b", 1)  # both are old now
    table.put("a", 2)
    assert table.pop("a") == 2
    assert table.get("a") is None


@pytest.mark.parametrize("limit", [1, 3, 10])
@given(names=st.lists(st.integers(0, 30).map(str), max_size=200), got=st.data())
def test_the_last_are_there_and_there_are_never_too_many(
    limit: int, names: list[str], got: st.DataObject
) -> None:
    table: Recent[str] = Recent(limit)
    last: list[str] = []
    for name in names:
        if got.draw(st.booleans()):
            table.put(name, name)
        elif table.get(name) is None:
            continue
        last = [one for one in last if one != name] + [name]
        assert len(table) <= 2 * limit
        for one in last[-limit:]:
            assert one in table

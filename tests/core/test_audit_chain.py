"""A chain of records: whatever is done to a line of it shows."""

from __future__ import annotations

import json
import random
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootserve.core.audit_chain import (
    ChainReader,
    Finding,
    Link,
    canonical,
    chained,
    parse_record,
)
from bootserve.errors import InvalidInput
from bootserve.model.audit import AuditEntry, AuditKind, Chain, Head

SERVER = "5" * 32
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
entries = st.builds(
    AuditEntry,
    st.sampled_from(AuditKind),
    st.floats(0, 4e9),
    st.text(),
    st.text(),
    st.none() | st.integers(0, 9),
    st.text(),
    st.lists(st.text(), max_size=3).map(tuple),
    st.dictionaries(st.text(), values, max_size=3),
)


def chain_of(*given: AuditEntry) -> list[Link]:
    return list(chained(SERVER, Chain.CHANGES, Head(), given))


def simple(count: int) -> list[Link]:
    one = AuditEntry(AuditKind.REVISION, 1.0, "root", detail={"changes": [1, {"a": "b"}]})
    return chain_of(*[one] * count)


def verify(lines: list[str], places: list[Head] | None = None) -> tuple[Head, list[Finding]]:
    reader = ChainReader(SERVER, Chain.CHANGES, Head())
    found = []
    for i, line in enumerate(lines):
        found += reader.read(line, places[i] if places else None)[1]
    return reader.head, found


def problems(lines: list[str], places: list[Head] | None = None) -> set[str]:
    return {one.problem for one in verify(lines, places)[1]}


@given(st.lists(entries, max_size=6))
def test_what_is_written_is_read_and_holds(given: list[AuditEntry]) -> None:
    links = chain_of(*given)
    head, found = verify([one.line for one in links])
    assert not found
    assert head == (links[-1].head if links else Head())
    for entry, link in zip(given, links, strict=True):
        record = parse_record(link.line)
        assert sha256(link.line.encode()).hexdigest() == link.head.hash
        assert (record["subject"], record["kind"]) == (entry.subject, entry.kind)
        assert link.line.isascii()


@given(values)
def test_one_text_for_one_value(value: Any) -> None:
    assert json.loads(canonical(value)) == value
    assert canonical(json.loads(canonical(value))) == canonical(value)


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 1000])
def test_a_long_list_is_encoded_as_a_short_one(count: int) -> None:
    value = {"z": [{"b": n, "a": [n]} for n in range(count)], "a": {"x": list(range(count))}}
    plain = json.dumps(value, sort_keys=True, separators=(",", ":"))
    assert canonical(value) == plain


@given(st.data())
def test_any_change_of_a_record_is_found(data: st.DataObject) -> None:
    links = simple(4)
    lines = [one.line for one in links]
    which = data.draw(st.integers(0, 2))
    line = lines[which]
    at = data.draw(st.integers(0, len(line) - 1))
    other = data.draw(
        st.characters(max_codepoint=126, min_codepoint=32).filter(lambda one: one != line[at])
    )
    lines[which] = line[:at] + other + line[at + 1 :]
    assert problems(lines)
    assert problems(lines, [one.head for one in links])


@given(st.data())
def test_a_record_that_is_rewritten_with_its_hash_is_found_by_the_next(
    data: st.DataObject,
) -> None:
    links = simple(4)
    which = data.draw(st.integers(0, 2))
    record = parse_record(links[which].line)
    record["subject"] = data.draw(st.text().filter(lambda one: one != "root"))
    line = canonical(record)
    lines, places = [one.line for one in links], [one.head for one in links]
    lines[which] = line
    places[which] = Head(which + 1, sha256(line.encode()).hexdigest())
    head, found = verify(lines, places)
    assert [(one.problem, one.sequence) for one in found] == [("altered", which + 1)]
    assert head == places[-1]


@given(st.integers(2, 8), st.data())
def test_a_record_that_is_gone_is_found(count: int, data: st.DataObject) -> None:
    links = simple(count)
    gone = data.draw(st.integers(0, count - 2))
    del links[gone]
    for places in (None, [one.head for one in links]):
        _, found = verify([one.line for one in links], places)
        assert [(one.problem, one.sequence) for one in found] == [("missing", gone + 1)]


@given(st.integers(0, 10**6))
def test_records_in_another_order_are_found(seed: int) -> None:
    links = simple(6)
    shuffled = random.Random(seed).sample(links, 6)
    if shuffled == links:
        return
    lines = [one.line for one in shuffled]
    assert "reordered" in problems(lines)
    assert "reordered" in problems(
        lines, [Head(i + 1, one.head.hash) for i, one in enumerate(shuffled)]
    )


def test_a_record_of_another_chain_is_found() -> None:
    entry = AuditEntry(AuditKind.BOOT, 1.0, "node/n1")
    strange = next(chained(SERVER, Chain.BOOTS, Head(), [entry]))
    _, found = verify([strange.line])
    assert [one.problem for one in found] == ["reordered"]


@pytest.mark.parametrize("line", ["", "{}", "[]", "nothing", "[" * 10_000, '{"a":1}'])
def test_what_is_no_record_is_refused(line: str) -> None:
    with pytest.raises(InvalidInput):
        parse_record(line)
    assert problems([line]) == {"altered"}


@pytest.mark.parametrize(
    ("old", "new"),
    [(":", ": "), ('"kind"', '"Kind"'), ('"sequence":1', '"sequence":"1"'), ('"at":1.0', '"at":1')],
)
def test_another_spelling_of_a_record_is_refused(old: str, new: str) -> None:
    line = simple(1)[0].line
    changed = line.replace(old, new, 1)
    assert changed != line
    if new == '"at":1':
        assert problems([changed, simple(2)[1].line]) == {"altered"}
        return
    with pytest.raises(InvalidInput):
        parse_record(changed)


def test_the_last_record_has_no_other_after_it_to_tell_on_it() -> None:
    links = simple(3)
    record = parse_record(links[2].line) | {"subject": "eve"}
    head, found = verify([links[0].line, links[1].line, canonical(record)])
    assert not found
    assert head != links[2].head  # so a signed head must be kept elsewhere

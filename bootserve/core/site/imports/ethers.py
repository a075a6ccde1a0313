"""``/etc/ethers`` (ethers(5)): a MAC address and a host name or address on each line."""

from __future__ import annotations

from bootserve.core.site.imports.draft import Draft, Where, parse_address
from bootserve.errors import InvalidInput

__all__ = ["read_ethers"]


def read_ethers(draft: Draft, text: str, file: str) -> None:
    """Add what the file ``file`` with this text holds to ``draft``.

    A host on several lines has several NICs. One that is given by its address alone is named
    after it.
    """
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        where = Where(file, number)
        if len(words) != 2:
            draft.note(where, "this is no MAC address and host: left out")
            continue
        macs = draft.macs(where, words[:1])
        if not macs:
            continue
        try:
            address = parse_address(words[1])
        except InvalidInput:
            draft.add(where, words[1], macs)
            continue
        name = f"ip-{address.replace('.', '-')}"
        draft.note(where, f"{address} has no name here: it is called {name}")
        draft.add(where, name, macs, addresses=[address])

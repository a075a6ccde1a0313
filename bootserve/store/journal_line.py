"""One journal line: ``CRC32 SEQUENCE JSON\\n``.

The CRC (8 hex digits) covers everything after the blank that follows it, without the newline. The
sequence is a decimal number that grows by one with each record, so a line that is missing shows.
"""

from __future__ import annotations

import json
import zlib
from json.encoder import encode_basestring_ascii as quoted

from bootserve.errors import InvalidInput
from bootserve.model.boot import Boot
from bootserve.store.records import JournalRecord, record_from_dict, record_to_dict

__all__ = ["decode_line", "decode_record", "encode_line"]

_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


def encode_line(sequence: int, record: JournalRecord | Boot) -> bytes:
    """Return the line of ``record``, or of the BootRecord of a Boot, newline included."""
    text = _boot_json(record) if isinstance(record, Boot) else _encode(record_to_dict(record))
    body = f"{sequence} {text}".encode("ascii")
    return b"%08x %b\n" % (zlib.crc32(body), body)


def _boot_json(boot: Boot) -> str:
    """Return what the encoder returns for the record of ``boot``, in a quarter of its time."""
    ref = boot.generation
    return (
        f'{{"kind":"boot","id":{quoted(boot.id)},"node":{quoted(boot.node)},'
        f'"mac":{quoted(boot.mac)},"generation":{quoted(f"{ref.image}@{ref.number}")},'
        f'"digest":{quoted(boot.digest)},"revision":{boot.revision},'
        f'"at":{boot.minted_at!r},"address":{quoted(boot.address)}}}'
    )


def decode_line(line: bytes) -> tuple[int, bytes] | None:
    """Return the sequence and the JSON of ``line``, or None when it is not whole and intact."""
    body = line[9:-1]
    if line[-1:] != b"\n" or line[:9] != b"%08x " % zlib.crc32(body):
        return None
    sequence, _, payload = body.partition(b" ")
    return (int(sequence), payload) if sequence.isdigit() else None


def decode_record(payload: bytes) -> JournalRecord | None:
    """Return the record in a line's JSON, or None when this version cannot read it."""
    try:
        return record_from_dict(json.loads(payload))
    except (ValueError, InvalidInput):
        return None

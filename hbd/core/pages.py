"""Records of decisions in one message: so many as fit, packed; and back, whatever the bytes are. Pure."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

from hbd.core.records import MOST_STEPS, Evidence, Record, Step
from hbd.core.recordtext import decode, encode
from hbd.errors import WireError

MOST_RAW_BYTES = 64 * 1024
"""Unpacked. Who packed it has the key, but may be broken."""
MOST_RECORDS = 20
MOST_EVIDENCE = 64


def pack(records: Sequence[Record], most_bytes: int) -> bytes:
    """The newest of these that fit, at least one; the oldest of them first. One that is too long by itself
    loses its steps and evidence from the end, then the ends of its texts."""
    lines = _newest(records)
    best = _packed(lines, most_bytes)
    if best is not None:
        return best
    # As many as fit: a heartbeat waits for this, so not one more after the other.
    fit, too_many = 0, len(lines)
    while too_many - fit > 1:
        some = (fit + too_many) // 2
        packed = _packed(lines[-some:], most_bytes)
        fit, too_many, best = (fit, some, best) if packed is None else (some, too_many, packed)
    if best is not None:
        return best
    shortened = (_packed([encode(shorter)], most_bytes) for shorter in _shortened(records[-1]))
    return next((packed for packed in shortened if packed is not None), zlib.compress(b""))


def _newest(records: Sequence[Record]) -> list[bytes]:
    """As many as may be in one page before it is packed; and the newest, however long."""
    lines: list[bytes] = []
    size = 0
    for record in reversed(records[-MOST_RECORDS:]):
        line = encode(record)
        size += len(line)
        if lines and size > MOST_RAW_BYTES:
            break
        lines.append(line)
    return lines[::-1]


def _packed(lines: Sequence[bytes], most_bytes: int) -> bytes | None:
    """None if these are too many."""
    raw = b"".join(lines)
    packed = zlib.compress(raw) if len(raw) <= MOST_RAW_BYTES else b""
    return packed if packed and len(packed) <= most_bytes else None


def _shortened(record: Record) -> Iterator[Record]:
    for steps, evidence, length in (
        (32, 16, 200), (8, 8, 400), (4, 4, 200), (2, 2, 100), (0, 0, 100), (0, 0, 40), (0, 0, 8),
    ):  # fmt: skip
        shorter = _with_texts(record, length)
        more = len(shorter.steps) - steps
        kept = shorter.steps[:steps]
        if more > 0:
            kept += (Step(shorter.steps[steps].after_ms, f"and {more} more"),)
        yield replace(shorter, steps=kept, evidence=shorter.evidence[:evidence])


def unpack(packed: bytes, node: str) -> tuple[Record, ...]:
    """The records of this node in a page. One that cannot be read, as that of a newer hbd, is passed over.

    Raises WireError for what is no page.
    """
    inflater = zlib.decompressobj()
    try:
        raw = inflater.decompress(packed, MOST_RAW_BYTES)
    except zlib.error as error:
        raise WireError(f"a page of decisions that cannot be unpacked: {error}") from None
    if not inflater.eof or inflater.unused_data:
        raise WireError("a page of decisions that does not end where it should")
    lines = raw.splitlines()
    if len(lines) > MOST_RECORDS:
        raise WireError(f"a page of {len(lines)} decisions")
    return tuple(
        _with_texts(record, None)
        for record in decode(lines).values()
        if record.node == node
        and len(record.steps) <= MOST_STEPS + 1
        and len(record.evidence) <= MOST_EVIDENCE
    )


def _with_texts(record: Record, length: int | None) -> Record:
    """The record with texts of that length at most, that do nothing to a terminal."""

    def cut(text: str) -> str:
        shorter = text if length is None or len(text) <= length else f"{text[: length - 1]}…"
        return shorter if shorter.isprintable() else "".join(c if c.isprintable() else "?" for c in shorter)

    return replace(
        record,
        cause=cut(record.cause), action=cut(record.action), result=cut(record.result),
        group=cut(record.group), peer=cut(record.peer), boot=cut(record.boot),
        steps=tuple(Step(step.after_ms, cut(step.text)) for step in record.steps),
        evidence=tuple(
            Evidence(cut(each.text), cut(each.node), cut(each.link), each.ago_ms) for each in record.evidence
        ),
    )  # fmt: skip

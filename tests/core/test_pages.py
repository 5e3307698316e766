"""Pages of decisions: what fits in a message, and what is made of one that another node sent."""

import json
import random
import zlib
from dataclasses import replace

import pytest

from hbd.core import pages
from hbd.core.records import Evidence, Record, Step
from hbd.core.recordtext import encode
from hbd.errors import WireError
from tests.core.test_story import DEAD, TAKE


def noise(length: int, seed: int = 1) -> str:
    """Text that does not pack well."""
    return "".join(chr(random.Random(f"{seed}{n}").randint(0x4E00, 0x9FFF)) for n in range(length))


LONG = replace(
    TAKE, cause=noise(3000), action=noise(3000, 2), result=noise(3000, 3), group=noise(300, 4),
    evidence=tuple(Evidence(noise(300, n), noise(80, n), noise(80, n), n) for n in range(60)),
    steps=tuple(Step(n, noise(300, n)) for n in range(64)),
)  # fmt: skip


def page(*lines: object) -> bytes:
    return zlib.compress(b"".join(json.dumps(line).encode() + b"\n" for line in lines))


def value(record: Record) -> dict[str, object]:
    loaded: dict[str, object] = json.loads(encode(record))
    return loaded


def test_a_page_holds_the_newest_that_fit_and_they_come_back_as_they_were() -> None:
    kept = [replace(DEAD, number=n, cause=noise(40, n)) for n in range(1, 50)]
    packed = pages.pack(kept, 1000)
    assert len(packed) <= 1000
    found = pages.unpack(packed, "linuxha1")
    assert 1 < len(found) < pages.MOST_RECORDS
    assert found == tuple(kept[-len(found) :])


def test_records_of_which_one_page_holds_a_few_are_as_many_as_fit_and_not_one_less() -> None:
    kept = [replace(DEAD, number=n, cause=noise(60, n)) for n in range(1, 50)]
    most = len(pages.pack(kept[-7:], 60_000))
    assert len(pages.unpack(pages.pack(kept, most), "linuxha1")) == 7
    assert len(pages.unpack(pages.pack(kept, most - 1), "linuxha1")) == 6


def test_no_text_of_a_record_is_longer_than_a_line_may_be() -> None:
    endless = noise(10_000)
    long = replace(DEAD, steps=(Step(1, endless),), evidence=(Evidence(endless),))
    assert encode(long) == encode(
        replace(long, steps=(Step(1, endless[:2000]),), evidence=(Evidence(endless[:2000]),))
    )


def test_twenty_short_ones_are_a_page_and_none_is_one_too() -> None:
    kept = [replace(TAKE, number=n) for n in range(1, 50)]
    assert pages.unpack(pages.pack(kept, 60_000), "linuxha1") == tuple(kept[-20:])
    assert pages.unpack(pages.pack([], 1000), "linuxha1") == ()


@pytest.mark.parametrize("most", [500, 1000])
def test_one_that_is_too_long_by_itself_is_shortened_and_says_so(most: int) -> None:
    packed = pages.pack([DEAD, LONG], most)
    assert len(packed) <= most
    (found,) = pages.unpack(packed, "linuxha1")
    assert (found.name, found.under, found.heard) == (LONG.name, LONG.under, LONG.heard)
    assert found.cause.endswith("…")
    assert found.steps[-1].text.endswith("more")


@pytest.mark.parametrize("text", ["x", "\u4e00"])
def test_what_packs_well_is_no_longer_unpacked_than_the_other_node_takes(text: str) -> None:
    long = replace(TAKE, steps=tuple(Step(n, text * 9000) for n in range(64)))
    (found,) = pages.unpack(pages.pack([DEAD, long], 1000), "linuxha1")
    assert found.name == long.name
    many = [replace(TAKE, number=n, cause=text * 9000, action=text * 9000) for n in range(20)]
    assert 1 < len(pages.unpack(pages.pack(many, 1000), "linuxha1")) < 20


def test_what_another_version_wrote_is_passed_over_and_the_rest_is_read() -> None:
    other = value(DEAD) | {"decision": "something new", "number": 9}
    newer = value(DEAD) | {"more": 1, "number": 10}
    assert pages.unpack(page(other, newer, value(TAKE)), "linuxha1") == (TAKE,)


@pytest.mark.parametrize(
    "wrong",
    [
        {"life": 1 << 32}, {"number": -1}, {"at_ms": 1 << 53}, {"wall_s": -5}, {"heard": [1, -1]},
        {"heard": [1 << 40, 1]}, {"took_ms": float("inf")}, {"node": "linuxha2"}, {"heard": 7},
        {"evidence": [{}]}, {"steps": [{"after_ms": -1, "text": "x"}]}, {"transition": 10**4000},
        {"steps": [{"after_ms": 1, "text": "x"}] * 1000},
    ],
)  # fmt: skip
def test_numbers_that_nobody_could_show_and_others_records_are_passed_over(wrong: dict[str, object]) -> None:
    assert pages.unpack(page(value(DEAD) | wrong, value(TAKE)), "linuxha1") == (TAKE,)


def test_lines_that_are_no_records_are_passed_over() -> None:
    raw = b"\n".join([b"[" * 60_000, b"\xff\xfe", b"null", b"7", encode(TAKE).strip()])
    assert pages.unpack(zlib.compress(raw), "linuxha1") == (TAKE,)


def test_texts_do_nothing_to_a_terminal() -> None:
    evil = value(TAKE) | {"cause": "\x1b[2Jgone\r\n\ud800", "steps": [{"after_ms": 1, "text": "\x07a\tb"}]}
    (found,) = pages.unpack(page(evil), "linuxha1")
    assert found.cause == "?[2Jgone???"
    assert found.steps == (Step(1, "?a?b"),)


@pytest.mark.parametrize(
    "packed",
    [b"", b"noise", zlib.compress(bytes(pages.MOST_RAW_BYTES + 1)), zlib.compress(b"x")[:-3],
     zlib.compress(b"") + b"!", page(*([1] * 21))],
)  # fmt: skip
def test_what_is_no_page_is_refused(packed: bytes) -> None:
    with pytest.raises(WireError):
        pages.unpack(packed, "linuxha1")

"""The field list: order, types, strict numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hbd.core.message import (
    BadField,
    Kind,
    Message,
    list_of,
    name_from_wire,
    name_to_wire,
)

UUID = bytes(range(16))


def test_a_message_keeps_its_fields_in_the_order_given() -> None:
    message = Message.of(("dest", "beta"), ("t", "repnodes"), ("nodelist", "alpha beta "))
    assert [name for _, name, _ in message.fields] == ["dest", "t", "nodelist"]


def test_text_becomes_a_string_field_and_bytes_become_a_binary_field() -> None:
    message = Message.of(("src", "alpha"), ("srcuuid", UUID))
    assert message.fields == ((Kind.STRING, "src", b"alpha"), (Kind.BINARY, "srcuuid", UUID))


def test_the_kinds_have_their_digits_of_the_wire() -> None:
    assert [kind.value for kind in Kind] == [0, 1, 2, 3, 4, 5]


def test_an_absent_field_reads_as_none_in_every_way() -> None:
    message = Message.of(("t", "status"))
    assert message.text("st") is None
    assert message.raw("st") is None
    assert message.hex("seq") is None
    assert message.decimal("ttl") is None
    assert "st" not in message
    assert "t" in message


def test_the_first_of_two_fields_of_one_name_counts() -> None:
    message = Message(((Kind.STRING, "src", b"alpha"), (Kind.STRING, "src", b"beta")))
    assert message.text("src") == "alpha"


def test_text_that_is_no_utf_8_is_escaped_and_can_always_be_printed() -> None:
    message = Message(((Kind.STRING, "info", b"caf\xc3\xa9 \xff"),))
    text = message.text("info")
    assert text == "café \\xff"
    assert text.encode()


def test_a_message_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Message.of(("t", "status")).fields = ()  # type: ignore[misc]


def test_messages_with_equal_fields_are_equal_and_hash_equally() -> None:
    one, other = Message.of(("t", "status")), Message.of(("t", "status"))
    assert one == other
    assert hash(one) == hash(other)
    assert one != Message.of(("t", b"status"))


# ---------------------------------------------------------------- numbers


@pytest.mark.parametrize(
    ("text", "number"),
    [("0", 0), ("2a", 42), ("2A", 42), ("7d0", 2000), ("ffffffff", 0xFFFFFFFF), ("0000000000000000002a", 42)],
)
def test_a_hexadecimal_field_is_read(text: str, number: int) -> None:
    assert Message.of(("seq", text)).hex("seq") == number


@pytest.mark.parametrize(
    "text",
    ["0x2a", "-1", "+1", " 1", "1 ", "1_0", "2g", "0.5", "100000000", "f" * 21, "0" * 21, "f" * 5000, "٣"],
)
def test_what_is_not_a_plain_hexadecimal_number_of_32_bits_is_a_bad_field(text: str) -> None:
    with pytest.raises(BadField, match="seq"):
        Message.of(("seq", text)).hex("seq")


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("3", 3), ("4294967295", 0xFFFFFFFF), ("007", 7)])
def test_a_decimal_field_is_read(text: str, number: int) -> None:
    assert Message.of(("ttl", text)).decimal("ttl") == number


@pytest.mark.parametrize(
    "text", ["2a", "-1", "+1", " 1", "1 ", "1_0", "0.5", "4294967296", "9" * 21, "1" * 5000, "٣", "²"]
)
def test_what_is_not_a_plain_decimal_number_of_32_bits_is_a_bad_field(text: str) -> None:
    with pytest.raises(BadField, match="ttl"):
        Message.of(("ttl", text)).decimal("ttl")


def test_the_bound_of_a_number_can_be_set() -> None:
    message = Message.of(("seq", "1f4"), ("ttl", "16"))
    assert message.hex("seq", maximum=500) == 500
    assert message.decimal("ttl", maximum=16) == 16
    with pytest.raises(BadField):
        message.hex("seq", maximum=499)
    with pytest.raises(BadField):
        message.decimal("ttl", maximum=15)


def test_an_empty_number_is_a_bad_field() -> None:
    message = Message(((Kind.STRING, "seq", b""),))
    with pytest.raises(BadField):
        message.hex("seq")
    with pytest.raises(BadField):
        message.decimal("seq")


@given(st.binary(max_size=30))
def test_reading_any_bytes_as_a_number_gives_a_number_or_a_bad_field(value: bytes) -> None:
    message = Message(((Kind.STRING, "seq", value),))
    for read in (message.hex, message.decimal):
        try:
            number = read("seq")
        except BadField:
            continue
        assert number is not None
        assert 0 <= number <= 0xFFFFFFFF


# ---------------------------------------------------------------- making and deriving


@pytest.mark.parametrize("value", ["", b"", "two\nlines", "a\0b", "\ud800"])
def test_a_value_that_3_0_6_could_not_read_makes_no_message(value: str | bytes) -> None:
    with pytest.raises(BadField, match="info"):
        Message.of(("info", value))


def test_bytes_may_hold_newline_and_nul() -> None:
    assert Message.of(("srcuuid", b"\n\0")).raw("srcuuid") == b"\n\0"


@pytest.mark.parametrize(
    "name", ["", "a=b", "(1)a", ">>>", "<<<", "a b", "a\n", "é", "\ud800", "n" * 65, "%%%"]
)
def test_a_name_that_could_pass_for_framing_makes_no_message(name: str) -> None:
    with pytest.raises(BadField):
        Message.of((name, "x"))
    with pytest.raises(BadField):
        Message.of(("t", "x")).with_field(name, "x")


@pytest.mark.parametrize("name", ["t", "x", "cn", "from_id", "my.field-2", "_private", "n" * 64])
def test_an_unknown_plain_name_is_a_name(name: str) -> None:
    raw = name_to_wire(name)
    assert name_from_wire(raw) == name
    assert Message.of((name, "x")).text(name) == "x"


def test_with_field_overwrites_in_place_or_appends() -> None:
    message = Message.of(("t", "status"), ("src", "old"), ("seq", "1"))
    changed = message.with_field("src", "new").with_field("hg", "5")
    assert changed == Message.of(("t", "status"), ("src", "new"), ("seq", "1"), ("hg", "5"))
    assert message.text("src") == "old"


def test_with_fields_applies_all_in_order() -> None:
    message = Message.of(("t", "status")).with_fields(("src", "alpha"), ("t", "x"), ("srcuuid", UUID))
    assert message == Message.of(("t", "x"), ("src", "alpha"), ("srcuuid", UUID))


def test_without_removes_every_field_of_the_name() -> None:
    message = Message(
        ((Kind.STRING, "auth", b"1"), (Kind.STRING, "t", b"x"), (Kind.STRING, "auth", b"2")),
    )
    assert message.without("auth") == Message.of(("t", "x"))
    assert message.without("absent") is message


def test_a_node_list_has_a_blank_after_each_name_and_is_one_blank_when_empty() -> None:
    assert list_of(["alpha", "beta"]) == "alpha beta "
    assert list_of([]) == " "

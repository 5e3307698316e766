"""The codec: the worked vector, what it refuses and why, and that nothing else ever happens."""

import bz2
import zlib
from base64 import b64decode, b64encode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hbd.config.model import Key, Keys, MsgFormat
from hbd.core import auth
from hbd.core.message import Field, Kind, Message
from hbd.core.wire import (
    MAX_DATAGRAM_BYTES,
    MAX_FIELDS,
    MAX_MESSAGE_BYTES,
    BadDatagram,
    Framing,
    Reason,
    Unsendable,
    classic_text,
    decode,
    encode,
    netstring_body,
)
from hbd.errors import WireError
from tests.core.test_captures import SCENARIOS, scenario

KEY = Key(1, "sha1", b"secretkey")
KEYS = Keys(1, (KEY, Key(2, "md5", b"other"), Key(3, "crc", b"")))
UUID = bytes(range(16))
STATUS = Message.of(
    ("t", "status"),
    ("st", "active"),
    ("dt", "7d0"),
    ("protocol", "1"),
    ("src", "alpha"),
    ("srcuuid", UUID),
    ("seq", "2a"),
    ("hg", "6b029d18"),
    ("ts", "6b029d40"),
    ("ld", "0.00 0.01 0.05 1/100 4242"),
    ("ttl", "3"),
)


def netstring(body: bytes, key: Key = KEY) -> bytes:
    """A signed netstring datagram around any bytes."""
    covered = b"###\n" + body + b"%%%\n"
    token = auth.token(key, covered)
    return covered + b"%d:%b," % (len(token), token)


def classic(lines: bytes, key: Key = KEY) -> bytes:
    """A signed classic datagram around any lines."""
    return b">>>\n" + lines + b"auth=" + auth.token(key, lines) + b"\n<<<\n"


def reason(datagram: bytes, keys: Keys = KEYS) -> Reason:
    with pytest.raises(BadDatagram) as caught:
        decode(datagram, keys)
    return caught.value.reason


# ---------------------------------------------------------------- the worked vector

SHA1_BODY = bytes.fromhex(
    "2323230a31313a283029743d7374617475732c31323a28302973743d6163746976652c393a28302964743d3764302c31"
    "333a28302970726f746f636f6c3d312c31323a2830297372633d616c7068612c32373a283129737263757569643d0001"
    "02030405060708090a0b0c0d0e0f2c393a2830297365713d32612c31343a28302968673d36623032396431382c31343a"
    "28302974733d36623032396434302c33313a2830296c643d302e303020302e303120302e303520312f31303020343234"
    "322c383a28302974746c3d332c35303a283029617574683d312063663533316364393836366664366434613735306663"
    "6532396236346436643066323637653666632c2525250a"
)
VECTOR = [
    (
        Key(1, "sha1", b"secretkey"),
        263,
        b"1 cf531cd9866fd6d4a750fce29b64d6d0f267e6fc",
        b"1 a18a16ddba690aa150e0f434541db8291b37c0e0",
        b"1 470bab7eb8e0ef4864718e186bd58772dba8566a",
    ),
    (
        Key(1, "md5", b"secretkey"),
        255,
        b"1 a5a67414b1613b775dcf1f324007bd11",
        b"1 77b94be26d94ab801ee16b18f0721f18",
        b"1 f16c6ae6cc33624b6db8687f5de96a05",
    ),
    (Key(1, "crc", b""), 231, b"1 13757eeb", b"1 93838d2e", b"1 6813c618"),
]


@pytest.mark.parametrize(("key", "length", "inner", "trailing", "trailing_alone"), VECTOR)
def test_the_worked_vector_is_reproduced(
    key: Key, length: int, inner: bytes, trailing: bytes, trailing_alone: bytes
) -> None:
    keys = Keys(1, (key,))
    text = classic_text(STATUS)
    assert len(text) == 149
    assert auth.token(key, text) == inner
    body = netstring_body(STATUS, inner)
    assert len(body) == length
    assert encode(STATUS, keys) == body + b"%d:%b," % (len(trailing), trailing)
    alone = netstring_body(STATUS)
    assert len(alone) == 209
    assert encode(STATUS, keys, MsgFormat.NETSTRING) == alone + b"%d:%b," % (
        len(trailing_alone),
        trailing_alone,
    )
    assert encode(STATUS, keys, framing=Framing.CLASSIC) == b">>>\n" + text + b"auth=" + inner + b"\n<<<\n"


def test_the_worked_vector_has_the_published_bytes() -> None:
    datagram = encode(STATUS, Keys(1, (KEY,)))
    assert datagram == SHA1_BODY + b"42:1 a18a16ddba690aa150e0f434541db8291b37c0e0,"
    assert len(datagram) == 309
    assert len(encode(STATUS, KEYS, framing=Framing.CLASSIC)) == 205


# ---------------------------------------------------------------- what is accepted


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("framing", list(Framing))
@pytest.mark.parametrize("msgfmt", list(MsgFormat))
def test_what_is_encoded_decodes_to_the_same_message_under_every_key(
    number: int, framing: Framing, msgfmt: MsgFormat
) -> None:
    was = decode(encode(STATUS, KEYS, msgfmt, framing, number), KEYS)
    assert was.message == STATUS
    assert was.key_number == number
    assert was.framing is framing
    assert was.msgfmt is (MsgFormat.CLASSIC if framing is Framing.CLASSIC else msgfmt)


def test_a_signing_number_that_is_gone_falls_back_to_our_own() -> None:
    assert decode(encode(STATUS, KEYS, signing_number=9), KEYS).key_number == 1


def test_an_auth_field_of_the_message_itself_is_never_sent() -> None:
    for forged in (STATUS.with_field("auth", "1 abc"), STATUS.with_field("auth", b"1 abc")):
        for framing in Framing:
            for msgfmt in MsgFormat:
                assert encode(forged, KEYS, msgfmt, framing) == encode(STATUS, KEYS, msgfmt, framing)


def test_the_auth_field_of_a_classic_datagram_may_stand_anywhere() -> None:
    text = classic_text(STATUS)
    auth_line = b"auth=" + auth.token(KEY, text) + b"\n"
    lines = text.splitlines(keepends=True)
    for at in range(len(lines) + 1):
        datagram = b">>>\n" + b"".join([*lines[:at], auth_line, *lines[at:]]) + b"<<<\n"
        assert decode(datagram, KEYS).message == STATUS


def test_the_auth_field_inside_a_netstring_may_stand_anywhere_and_is_not_verified() -> None:
    first = b"10:(0)auth=xy,"
    was = decode(netstring(first + netstring_body(STATUS)[4:-4]), KEYS)
    assert was.message == STATUS
    assert was.msgfmt is MsgFormat.CLASSIC


@pytest.mark.parametrize("tail", [b"", b"\0", b"\0\0", b"anything", b"t=other\n<<<\n"])
def test_what_follows_a_classic_datagram_is_ignored(tail: bytes) -> None:
    assert decode(encode(STATUS, KEYS, framing=Framing.CLASSIC) + tail, KEYS).message == STATUS


def test_blank_lines_in_a_classic_datagram_are_skipped() -> None:
    datagram = encode(STATUS, KEYS, framing=Framing.CLASSIC).replace(b"\nst=", b"\n\n\nst=")
    assert decode(datagram.replace(b">>>\n", b">>>\n\n"), KEYS).message == STATUS


def test_a_netstring_value_may_hold_anything() -> None:
    nasty = b"%%%\n42:1 abc,###\n\0\n=,:"
    fields: tuple[Field, ...] = ((Kind.STRING, "info", nasty), (Kind.BINARY, "srcuuid", nasty))
    message = Message(fields)
    assert decode(encode(message, KEYS, MsgFormat.NETSTRING), KEYS).message == message


@pytest.mark.parametrize("kind", list(Kind))
def test_a_netstring_carries_every_kind(kind: Kind) -> None:
    message = Message(((kind, "x", b"###\n10:(0)t=inner,%%%\n"),))
    assert decode(encode(message, KEYS, MsgFormat.NETSTRING), KEYS).message == message


def test_a_netstring_value_may_be_empty() -> None:
    assert decode(netstring(b"6:(0)st=,"), KEYS).message == Message(((Kind.STRING, "st", b""),))


def test_a_message_without_fields_decodes_to_one() -> None:
    assert decode(netstring(b""), KEYS).message == Message(())
    assert decode(classic(b""), KEYS).message == Message(())


def test_the_classic_framing_carries_nested_kinds_as_text_and_bytes_as_base64() -> None:
    lines = b"(1)a=AAE=\n(2)b=text\n(3)c=1:x,\n(4)d=AAE=\n(5)e=text\n"
    assert decode(classic(lines), KEYS).message.fields == (
        (Kind.BINARY, "a", b"\0\1"),
        (Kind.STRUCT, "b", b"text"),
        (Kind.LIST, "c", b"1:x,"),
        (Kind.COMPRESSED, "d", b"\0\1"),
        (Kind.UNCOMPRESSED, "e", b"text"),
    )


# ---------------------------------------------------------------- what is refused before any field is parsed


@pytest.mark.parametrize("framing", list(Framing))
def test_every_truncation_is_refused(framing: Framing) -> None:
    whole = encode(STATUS, KEYS, framing=framing)
    for length in range(len(whole)):
        assert reason(whole[:length]) in {Reason.TRUNCATED, Reason.UNSIGNED, Reason.BAD_FRAMING}


@pytest.mark.parametrize("datagram", [b"", b"#", b"###", b"###\n", b">>>", b">>>\n", b"###\n11:(0)t=sta"])
def test_a_beginning_alone_is_truncated(datagram: bytes) -> None:
    assert reason(datagram) is Reason.TRUNCATED


@pytest.mark.parametrize("datagram", [b"\0", b"hello", b"##\n#", b"<<<\n", b"\n###\n", b" >>>\n"])
def test_another_first_line_is_bad_framing(datagram: bytes) -> None:
    assert reason(datagram) is Reason.BAD_FRAMING


@pytest.mark.parametrize("framing", list(Framing))
def test_a_flip_of_any_bit_of_a_signed_datagram_is_refused(framing: Framing) -> None:
    whole = encode(STATUS, KEYS, framing=framing)
    for at in range(len(whole)):
        for bit in range(8):
            flipped = bytearray(whole)
            flipped[at] ^= 1 << bit
            reason(bytes(flipped))


@pytest.mark.parametrize("framing", list(Framing))
def test_the_wrong_secret_is_a_bad_signature(framing: Framing) -> None:
    stranger = Keys(1, (Key(1, "sha1", b"not ours"),))
    assert reason(encode(STATUS, stranger, framing=framing)) is Reason.BAD_SIGNATURE


@pytest.mark.parametrize("framing", list(Framing))
def test_a_digest_of_another_method_than_the_key_has_is_a_bad_signature(framing: Framing) -> None:
    stranger = Keys(1, (Key(1, "crc", b""),))
    assert reason(encode(STATUS, stranger, framing=framing)) is Reason.BAD_SIGNATURE


@pytest.mark.parametrize("framing", list(Framing))
def test_a_number_that_authkeys_does_not_list_is_an_unknown_key(framing: Framing) -> None:
    stranger = Keys(7, (Key(7, "sha1", b"secretkey"),))
    assert reason(encode(STATUS, stranger, framing=framing)) is Reason.UNKNOWN_KEY


def test_a_netstring_without_a_signature_is_unsigned() -> None:
    assert reason(netstring_body(STATUS)) is Reason.UNSIGNED


def test_a_classic_datagram_without_auth_is_unsigned() -> None:
    assert reason(b">>>\n" + classic_text(STATUS) + b"<<<\n") is Reason.UNSIGNED


def test_a_classic_datagram_with_two_auth_fields_is_refused() -> None:
    datagram = encode(STATUS, KEYS, framing=Framing.CLASSIC)
    assert reason(datagram.replace(b"auth=", b"auth=1 abc\nauth=")) is Reason.BAD_FIELD


def test_a_nul_inside_a_classic_datagram_is_refused() -> None:
    assert reason(classic(b"t=sta\0tus\n")) is Reason.BAD_FRAMING


@pytest.mark.parametrize(
    "signature",
    [b"42:1 abc,", b"5:1 ab,", b"4:1 abc,", b":1 abc,", b"05:1 abc,", b"-5:1 abc,", b"5:1 abc",
     b"5;1 abc,", b",",
     b"5:1 abc,\n", b"5:1 abc,\0", b"5:1 abc,,", b"5:1,abc,", b"99999999999999:1 abc,"],
)  # fmt: skip
def test_a_signature_that_is_no_netstring_is_bad_framing(signature: bytes) -> None:
    assert reason(netstring_body(STATUS) + signature) is Reason.BAD_FRAMING


@pytest.mark.parametrize(
    "token", [b"1 abc", b"1  abc", b"1 ABC", b"1abc", b"one a", b"1 abc ", b"123 ab", b"01 ab"]
)
def test_a_token_that_is_none_is_a_bad_signature(token: bytes) -> None:
    assert reason(netstring_body(STATUS) + b"%d:%b," % (len(token), token)) is Reason.BAD_SIGNATURE
    assert reason(b">>>\n" + classic_text(STATUS) + b"auth=" + token + b"\n<<<\n") is Reason.BAD_SIGNATURE


def test_an_overlong_signature_is_not_even_looked_for() -> None:
    assert reason(netstring_body(STATUS) + b"99:1 " + b"a" * 97 + b",") is Reason.TRUNCATED


def test_more_than_fits_a_datagram_is_oversized() -> None:
    assert reason(b"###\n" + b"x" * MAX_DATAGRAM_BYTES) is Reason.OVERSIZED


def test_an_unauthentic_datagram_is_refused_for_its_signature_whatever_its_fields_are() -> None:
    assert reason(netstring(b"9:garbage!!,", Key(1, "sha1", b"not ours"))) is Reason.BAD_SIGNATURE
    assert reason(classic(b"garbage\n", Key(1, "sha1", b"not ours"))) is Reason.BAD_SIGNATURE


# ---------------------------------------------------------------- what is refused although a key signed it


@pytest.mark.parametrize(
    "body",
    [
        b"8:t=status,",  # The field that makes 3.0.6 abort: no parenthesis and digit.
        b"8:)0(t=sta,",
        b"8:(x)t=sta,",
        b"6:(0]t=x,",
        b"8:(6)t=sta,",
        b"8:(/)t=sta,",
        b"4:(0)=,",
        b"5:(0)=x,",
        b"4:(0)t,",
        b"0:,",
        b"1:(,",
        b"3:(0),",
        b"6:(0)t=x",
        b"6:(0)t=x,,",
        b"5:(0)t=x,",
        b"7:(0)t=x,",
        b"99:(0)t=x,",
        b"999999:(0)t=x,",
        b"9999999999999999999999:(0)t=x,",
        b"-6:(0)t=x,",
        b"+6:(0)t=x,",
        b" 6:(0)t=x,",
        b"06:(0)t=x,",
        b"6(0)t=x,",
        b":(0)t=x,",
        b"6:(0)t=x;",
        b"no colon at all",
        b"6:(0)t=x,6",
        b"6:(0)t=x,6:",
        b"7:(0)t =x,",
        b"7:(0)\xe9=xy,",
        b"10:(0)(1)t=xy,",
        b"71:(0)" + b"n" * 65 + b"=x,",
        "6٣:(0)t=x,".encode(),
    ],
)
def test_a_signed_netstring_with_a_bad_field_is_refused(body: bytes) -> None:
    assert reason(netstring(body)) is Reason.BAD_FIELD
    assert reason(netstring(netstring_body(STATUS)[4:-4] + body)) is Reason.BAD_FIELD


@pytest.mark.parametrize(
    "lines",
    [b"t\n", b"t=\n", b"=x\n", b"(1)srcuuid=\n", b"(1)srcuuid=A\n", b"(1)srcuuid=AA=A\n", b"(1)srcuuid=AA\n",
     b"(1)srcuuid=!!!!\n", b"(1)srcuuid=AAE=\xff\n", b"(4)x=?\n", b"(6)x=y\n", b"(0)x=y\n",
     b"(1x=y\n", b"a b=c\n",
     b"\xe9=c\n", b"<<<x=y\n", b">>>x=y\n", b"(1)(1)x=AAE=\n", b"n" * 65 + b"=x\n"],
)  # fmt: skip
def test_a_signed_classic_datagram_with_a_bad_line_is_refused(lines: bytes) -> None:
    assert reason(classic(lines)) is Reason.BAD_FIELD
    assert reason(classic(classic_text(STATUS) + lines)) is Reason.BAD_FIELD


def test_the_most_fields_allowed_are_accepted_and_one_more_is_refused() -> None:
    assert len(decode(netstring(b"5:(0)t=," * MAX_FIELDS), KEYS).message.fields) == MAX_FIELDS
    assert len(decode(classic(b"t=x\n" * MAX_FIELDS), KEYS).message.fields) == MAX_FIELDS
    assert reason(netstring(b"5:(0)t=," * (MAX_FIELDS + 1))) is Reason.TOO_MANY_FIELDS
    assert reason(classic(b"t=x\n" * (MAX_FIELDS + 1))) is Reason.TOO_MANY_FIELDS


# ---------------------------------------------------------------- compression


def wrapped(payload: bytes, algorithm: str) -> bytes:
    return encode(
        Message.of(("_compressed_payload", payload), ("_compression_algorithm", algorithm)),
        KEYS,
        MsgFormat.NETSTRING,
    )


@pytest.mark.parametrize(("algorithm", "compress"), [("zlib", zlib.compress), ("bz2", bz2.compress)])
def test_a_compressed_message_is_unwrapped(algorithm: str, compress) -> None:  # type: ignore[no-untyped-def]
    for body in (netstring_body(STATUS), netstring_body(STATUS, b"1 abc")):
        was = decode(wrapped(compress(body), algorithm), KEYS)
        assert was.message == STATUS
        assert was.key_number == 1


SEEN_KEY = Keys(1, (Key(1, "sha1", b"key-for-sha1-any-text-you-want"),))
SEEN_ZLIB = b64decode(
    "IyMjCjM1NTooMSlfY29tcHJlc3NlZF9wYXlsb2FkPXicpdZLT8JAFIZh1/MrZqkh4JxzhnaaMCzcYNyoIeC6N2iTBoROI/jr"
    "bU2EtR9dTHp7ky6etmc+n6uibINv6l13qlJWwR/Lz92+P6mGtamvF0n/3aWHS+PTv7exgUuCS/xpBS4tXE7hMoLLGC4dXCa4"
    "hBsQ4YoIZ0S4I8IhES6JcEqEWyIcE+GaGNfEN3yTcE2Ma2JcE+OaGNfEuCbGNTGuSXBNgmuSG35xuCbBNQmuSXBNgmsSXJMk"
    "uh+xmsswpdU9PQwzV9fVhf8480iql9Hy9fycfS+WwbW79Zf3qj3ml7lrKPrj3yCLD9VTdFi911Hytt6u9yu7aLZDUB68VdXW"
    "R5kR3kikQnvdbwpPZtK/isnEDUsSa7KPbKy2pEJovBWVdqHypCVjyVLHtnBu6kpjhOJpvkljk1OaR2WRFaYkE6vZbKbufgDu"
    "iGBMLDMwOigwKV9jb21wcmVzc2lvbl9hbGdvcml0aG09emxpYiwlJSUKNDI6MSA1NjBlZjIxNDJhMTcwYmE3MGIxMTEwYTRh"
    "ZTFiMGYwZWQ3OTk1ODNiLA=="
)
"""Sent by heartbeat 3.0.6 with `msgfmt classic`, `compression zlib`: its list of 42 nodes."""
SEEN_BZ2 = b64decode(
    "IyMjCjM3NDooMSlfY29tcHJlc3NlZF9wYXlsb2FkPUJaaDExQVkmU1nRnORSAAAaf++AEAIASmf/8gCQB4E/9f7AiJAAYAQD"
    "ABAQIAQACAAwAS1mMRT1M0U/1SMmTCA0AAAAAGhFPGlDUaA0GgAGgAAAAJJKeU01PU8KAwTR6gAekep6amaTT1Mi1vyTQKOO"
    "FSkNSoq0bZJWgOgAABgAUAAAiIiJISynLwxgpiZkMyvmnnop5643P0RZgEeICLQEUtdKj81x9F2ycLGTImNa1pItyE5jMjMz"
    "sOqMusDHnkeE5gRTDcdu8hAzOEn3IsMaPSEcBvE+b8BKiuWYjPKzIS0zQBSYjACuCGAEhCBllJrpRQRRxKJBSl4+lnzV2PhQ"
    "w7fp96q+G3dpsDKRmw5LTWIRYzFCQiHM5fVJJUEVxILyxvcebfCcAiD7qAuSEYScxOjiWEwEFgew7iOp+IL5QEQBgBHsAjZn"
    "3bad98/uP56+0UfxdyRThQkNGc5FICwyOTooMClfY29tcHJlc3Npb25fYWxnb3JpdGhtPWJ6MiwlJSUKNDI6MSBhMGYxNWQ2"
    "NDhiYjg4MzY2N2U0ZTMxZTAzMjJjMzljOTQ1YTQ3MzRmLA=="
)
"""The same with `msgfmt netstring`, `compression bz2`."""


@pytest.mark.parametrize("datagram", [SEEN_ZLIB, SEEN_BZ2], ids=["classic inside", "netstring inside"])
def test_what_3_0_6_compressed_is_read(datagram: bytes) -> None:
    was = decode(datagram, SEEN_KEY)
    assert was.message.text("t") == "repnodes"
    assert was.message.text("src") == "linuxha1"
    assert len((was.message.text("nodelist") or "").split()) == 42
    assert was.message.hex("seq") == 4
    assert "auth" not in was.message


@pytest.mark.parametrize("inside", [b">>>\nt=x\n<<<\n", b">>>\nt=x\n<<<\n\0", b">>>\nt=x\nauth=1 a\n<<<\n"])
def test_the_classic_form_inside_a_wrapper_needs_no_signature_and_may_end_with_a_nul(inside: bytes) -> None:
    assert decode(wrapped(zlib.compress(inside), "zlib"), KEYS).message == Message.of(("t", "x"))


@pytest.mark.parametrize(
    "inside", [b">>>\n", b">>>\n<<<", b">>>\nt=x\n<<<\n\0\0", b">>>\nt=x\0y\n<<<\n", b">>>\nt=x\n<<<\nt=y\n"]
)
def test_a_broken_classic_form_inside_a_wrapper_is_refused(inside: bytes) -> None:
    assert reason(wrapped(zlib.compress(inside), "zlib")) in (Reason.BAD_COMPRESSION, Reason.BAD_FIELD)


def test_a_classic_datagram_may_carry_a_compressed_message_too() -> None:
    payload = b64encode(zlib.compress(netstring_body(STATUS)))
    lines = b"(1)_compressed_payload=" + payload + b"\n_compression_algorithm=zlib\n"
    assert decode(classic(lines), KEYS).message == STATUS


@pytest.mark.parametrize(("algorithm", "compress"), [("zlib", zlib.compress), ("bz2", bz2.compress)])
def test_a_message_that_inflates_beyond_its_bound_is_refused(algorithm: str, compress) -> None:  # type: ignore[no-untyped-def]
    bomb = compress(b"###\n" + b"x" * 40_000_000 + b"%%%\n")
    assert reason(wrapped(bomb, algorithm)) is Reason.BAD_COMPRESSION


def test_a_large_message_within_the_bound_is_unwrapped() -> None:
    large = Message.of(("info", "x" * (MAX_MESSAGE_BYTES - 100)))
    assert decode(wrapped(zlib.compress(netstring_body(large)), "zlib"), KEYS).message == large


@pytest.mark.parametrize("algorithm", ["zlib", "bz2", "lzma", "ZLIB"])
@pytest.mark.parametrize("payload", [b"x", b"BZh9", zlib.compress(b"hello"), bz2.compress(b"hello"),
                                     zlib.compress(netstring_body(STATUS))[:-5],
                                     bz2.compress(netstring_body(STATUS))[:-5],
                                     zlib.compress(b""), zlib.compress(b"###\n"), zlib.compress(b"###\n%%"),
                                     zlib.compress(encode(STATUS, KEYS))])  # fmt: skip
def test_a_wrapper_around_anything_else_is_refused(algorithm: str, payload: bytes) -> None:
    assert reason(wrapped(payload, algorithm)) is Reason.BAD_COMPRESSION


def test_a_bad_field_inside_a_wrapper_is_refused() -> None:
    assert reason(wrapped(zlib.compress(b"###\n8:t=status,%%%\n"), "zlib")) is Reason.BAD_FIELD


def test_a_wrapper_inside_a_wrapper_is_refused() -> None:
    inner = Message.of(
        ("_compressed_payload", zlib.compress(netstring_body(STATUS))), ("_compression_algorithm", "zlib")
    )
    assert reason(wrapped(zlib.compress(netstring_body(inner)), "zlib")) is Reason.BAD_COMPRESSION


def test_a_wrapper_without_its_algorithm_is_refused() -> None:
    datagram = encode(Message.of(("_compressed_payload", b"x")), KEYS, MsgFormat.NETSTRING)
    assert reason(datagram) is Reason.BAD_COMPRESSION


# ---------------------------------------------------------------- what cannot be sent


@pytest.mark.parametrize("value", [b"", b"two\nlines", b"a\0b"])
@pytest.mark.parametrize(
    "form", [(MsgFormat.CLASSIC, Framing.NETSTRING), (MsgFormat.NETSTRING, Framing.CLASSIC)]
)
def test_a_value_without_a_classic_form_is_not_sent_in_it(
    value: bytes, form: tuple[MsgFormat, Framing]
) -> None:
    message = Message(((Kind.STRING, "info", value),))
    with pytest.raises(Unsendable):
        encode(message, KEYS, *form)


@pytest.mark.parametrize("kind", [Kind.STRUCT, Kind.LIST, Kind.UNCOMPRESSED])
def test_a_nested_kind_is_not_sent_in_the_classic_form(kind: Kind) -> None:
    with pytest.raises(Unsendable):
        encode(Message(((kind, "x", b"y"),)), KEYS)


@pytest.mark.parametrize("framing", list(Framing))
def test_a_message_that_fits_no_datagram_is_not_sent(framing: Framing) -> None:
    with pytest.raises(Unsendable):
        encode(Message.of(("info", "x" * MAX_DATAGRAM_BYTES)), KEYS, framing=framing)


def test_what_the_codec_raises_is_a_wire_error_with_a_text() -> None:
    assert issubclass(BadDatagram, WireError)
    assert issubclass(Unsendable, WireError)
    assert str(BadDatagram(Reason.UNKNOWN_KEY, "7")) == "unknown key: 7"
    assert str(BadDatagram(Reason.UNSIGNED)) == "unsigned"


# ---------------------------------------------------------------- anything whatever

NAMES = st.from_regex(r"[A-Za-z0-9_][!-<>-~]{0,20}", fullmatch=True).filter(
    lambda name: name not in ("auth", "_compressed_payload")
)
TEXTS = st.text(st.characters(exclude_characters="\n\0", exclude_categories=["Cs"]), min_size=1, max_size=40)
MESSAGES = st.lists(st.tuples(NAMES, TEXTS | st.binary(min_size=1, max_size=40)), max_size=20).map(
    lambda pairs: Message.of(*pairs)
)


@given(MESSAGES, st.sampled_from(Framing), st.sampled_from(MsgFormat), st.sampled_from([1, 2, 3]))
def test_any_message_survives_the_wire(
    message: Message, framing: Framing, msgfmt: MsgFormat, number: int
) -> None:
    datagram = encode(message, KEYS, msgfmt, framing, number)
    was = decode(datagram, KEYS)
    assert was.message == message
    assert encode(was.message, KEYS, was.msgfmt, was.framing, was.key_number) == datagram


@settings(max_examples=300)
@given(
    st.sampled_from([b"", b"###\n", b">>>\n"]),
    st.binary(max_size=300),
    st.sampled_from([b"", b"%%%\n", b"<<<\n"]),
)
def test_any_bytes_are_refused_with_a_reason(head: bytes, middle: bytes, tail: bytes) -> None:
    with pytest.raises(BadDatagram):
        decode(head + middle + tail, KEYS)


SYNTAX = st.lists(
    st.sampled_from([b"(0)", b"(1)", b"(9)", b"=", b":", b",", b"\n", b"t", b"6", b"0",
                     b"%%%\n", b"<<<\n", b"auth", b"\xff"])
    | st.binary(max_size=3),
    max_size=30,
).map(b"".join)  # fmt: skip


@settings(max_examples=300)
@given(SYNTAX)
def test_any_signed_netstring_body_is_a_message_or_refused(body: bytes) -> None:
    try:
        message = decode(netstring(body), KEYS).message
    except BadDatagram:
        return
    assert decode(encode(message, KEYS, MsgFormat.NETSTRING), KEYS).message == message


@settings(max_examples=300)
@given(SYNTAX)
def test_any_signed_classic_body_is_a_message_or_refused(lines: bytes) -> None:
    try:
        message = decode(classic(lines), KEYS).message
    except BadDatagram:
        return
    assert decode(encode(message, KEYS, MsgFormat.NETSTRING), KEYS).message == message


@settings(max_examples=300)
@given(st.binary(max_size=300), st.sampled_from(["zlib", "bz2"]), st.booleans())
def test_any_compressed_payload_is_a_message_or_refused(raw: bytes, algorithm: str, really: bool) -> None:
    compress = zlib.compress if algorithm == "zlib" else bz2.compress
    payload = compress(b"###\n" + raw + b"%%%\n") if really else raw or b"x"
    try:
        decode(wrapped(payload, algorithm), KEYS)
    except BadDatagram:
        pass


@settings(max_examples=500)
@given(st.data())
def test_a_mutated_datagram_of_3_0_6_is_refused(data: st.DataObject) -> None:
    keys, datagrams = scenario(data.draw(st.sampled_from(SCENARIOS)))
    whole = data.draw(st.sampled_from(datagrams))
    start = data.draw(st.integers(0, len(whole)))
    stop = data.draw(st.integers(start, min(len(whole), start + 20)))
    mutated = whole[:start] + data.draw(st.binary(max_size=20)) + whole[stop:]
    try:
        message = decode(mutated, keys).message
    except BadDatagram:
        return
    # Only what is no part of the message can have changed: blank lines, and bytes after a classic end.
    assert message == decode(whole, keys).message
    assert mutated == whole or whole.startswith(b">>>")


@settings(max_examples=300)
@given(st.data())
def test_a_datagram_of_3_0_6_mutated_by_a_key_holder_is_a_message_or_refused(data: st.DataObject) -> None:
    keys, datagrams = scenario(data.draw(st.sampled_from(SCENARIOS)))
    was = decode(data.draw(st.sampled_from(datagrams)), keys)
    body = netstring_body(was.message)[4:-4]
    start = data.draw(st.integers(0, len(body)))
    stop = data.draw(st.integers(start, min(len(body), start + 20)))
    try:
        decode(netstring(body[:start] + data.draw(st.binary(max_size=20)) + body[stop:]), KEYS)
    except BadDatagram:
        pass

"""The three methods, against published vectors and against the standard library."""

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hbd.config.model import Key
from hbd.core.auth import METHODS, crc, parse_token, sign, token, verify

CRC = Key(1, "crc", b"")


def slow_crc(data: bytes) -> int:
    """The definition, bit by bit."""
    register = 0
    for byte in data:
        register ^= byte << 24
        for _ in range(8):
            register = (register << 1) ^ (0x04C11DB7 if register & 0x80000000 else 0)
            register &= 0xFFFFFFFF
    return register ^ 0xFFFFFFFF


@pytest.mark.parametrize(("data", "digest"), [(b"", "ffffffff"), (b"123456789", "765e7680")])
def test_crc_gives_the_check_values_of_3_0_6(data: bytes, digest: str) -> None:
    assert sign(CRC, data) == digest


@given(st.binary(max_size=200))
def test_crc_is_the_definition_bit_by_bit(data: bytes) -> None:
    assert crc(data) == slow_crc(data)


def test_crc_is_printed_without_leading_zeros() -> None:
    data = next(d for d in (b"%d" % n for n in range(10_000)) if crc(d) < 0x10000000)
    digest = sign(CRC, data)
    assert len(digest) < 8
    assert verify(CRC, digest.encode(), data)
    assert not verify(CRC, digest.rjust(8, "0").encode(), data)


@given(st.sampled_from(["md5", "sha1"]), st.binary(min_size=1, max_size=200), st.binary(max_size=400))
def test_md5_and_sha1_are_the_standard_hmacs_with_short_and_long_secrets(
    method: str, secret: bytes, data: bytes
) -> None:
    assert sign(Key(1, method, secret), data) == hmac.new(secret, data, method).hexdigest()


def test_the_hmacs_give_the_vectors_of_rfc_2202() -> None:
    data = b"what do ya want for nothing?"
    assert sign(Key(1, "md5", b"Jefe"), data) == "750c783e6ab0b503eaa86e310a5db738"
    assert sign(Key(1, "sha1", b"Jefe"), data) == "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"


def test_signing_twice_gives_the_same_digest() -> None:
    key = Key(1, "sha1", b"secretkey")
    assert sign(key, b"one") == sign(key, b"one") == hmac.new(b"secretkey", b"one", hashlib.sha1).hexdigest()


@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_digest_verifies_only_for_its_own_bytes_and_in_lower_case(method: str) -> None:
    key = Key(1, method, b"" if method == "crc" else b"secret")
    digest = sign(key, b"some bytes").encode()
    assert verify(key, digest, b"some bytes")
    assert not verify(key, digest, b"some byteS")
    assert not verify(key, digest[:-1], b"some bytes")
    assert not verify(key, digest + b"0", b"some bytes")
    assert not verify(key, digest.upper(), b"some bytes")
    assert not verify(key, b"", b"some bytes")


@pytest.mark.parametrize("method", ["md5", "sha1"])
def test_another_secret_gives_another_digest(method: str) -> None:
    assert not verify(Key(1, method, b"other"), sign(Key(1, method, b"mine"), b"x").encode(), b"x")


def test_a_token_is_number_blank_digest() -> None:
    assert token(Key(2, "crc", b""), b"") == b"2 ffffffff"
    assert parse_token(b"2 ffffffff") == (2, b"ffffffff")


def test_key_zero_is_a_key() -> None:
    assert parse_token(b"0 ab") == (0, b"ab")


@pytest.mark.parametrize(
    "raw",
    [b"", b"1", b"1 ", b" 1 ab", b"1  ab", b"1 ab ", b"1 ab\n", b"1 AB", b"01 ab", b"100 ab", b"-1 ab",
     b"1 xyz", b"1\tab", b"\xb2 ab", b"1 " + b"a" * 65, b"9" * 5000 + b" ab"],
)  # fmt: skip
def test_what_is_no_token_is_none(raw: bytes) -> None:
    assert parse_token(raw) is None


def test_a_key_does_not_show_its_secret() -> None:
    assert "hunter2" not in repr(Key(1, "sha1", b"hunter2"))

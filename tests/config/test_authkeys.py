"""authkeys: keys, the one that signs, and what 3.0.6 refuses."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hbd.config.model import Key, Keys
from tests.config.parsing import keys


def test_the_guides_keys_are_read() -> None:
    assert keys("auth 1\n1 sha1 key-for-sha1-any-text-you-want\n") == (
        Keys(1, (Key(1, "sha1", b"key-for-sha1-any-text-you-want"),)),
        [],
    )
    assert keys("auth 2\n2 crc\n") == (Keys(2, (Key(2, "crc", b""),)), [])


def test_all_keys_are_kept_and_auth_says_which_signs() -> None:
    result, findings = keys("# keys\n\n  # more\nauth 3\n1 md5 a\n2 sha1 b\n3 sha1 c\n0 crc\n")
    assert findings == []
    assert result is not None
    assert result.signer == Key(3, "sha1", b"c")
    assert [key.number for key in result.keys] == [1, 2, 3, 0]
    assert result.find(1) == Key(1, "md5", b"a")


def test_a_secret_is_taken_byte_for_byte() -> None:
    text = b"auth 1\r\n1\tsha1 #p\xff#\xc3\xa4,x\r\n".decode("utf-8", "surrogateescape")
    result, findings = keys(text)
    assert findings == []
    assert result is not None
    assert result.signer.secret == b"#p\xff#\xc3\xa4,x"


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("", "1:1: error: Missing auth directive in keyfile [authkeys]; "
             "write 'auth 1' as its first line"),
        ("1 crc\n", "1:1: error: Missing auth directive in keyfile [authkeys]; "
                    "write 'auth 1' as its first line"),
        ("auth 2\n1 crc\n", "1:1: error: Auth Key [2] not found in keyfile"),
        ("1 crc\nauth 1\n", "2:1: error: Auth Key [1] not found in keyfile; "
                            "its line must come after the auth line (authkeys:2:1)"),
        ("auth one\n1 crc\n", "1:1: error: Invalid auth line [...]; write 'auth 1'"),
        ("auth\n1 crc\n", "1:1: error: Invalid auth line [...]; write 'auth 1'"),
        ("authority 1\n1 crc\n", "1:1: error: Invalid auth line [...]; write 'auth 1'"),
        ("auth 1\n1 crc\n 16 crc\n", "3:2: error: Invalid authnum [16]; a key has a number from 1 to 15"),
        ("auth 1\n1 crc\n-1 crc\n", "3:1: error: Invalid authnum [-1]; a key has a number from 1 to 15"),
        ("auth 1\n1 crc x\n", "2:7: error: Auth method [crc] doesn't use a key; remove what follows it"),
        ("auth 1\n1 sha1\n", "2:3: error: Auth method [sha1] requires a key; write '1 sha1 SECRET'"),
        ("auth 1\n1 md5\n", "2:3: error: Auth method [md5] requires a key; write '1 md5 SECRET'"),
        ("auth 1\n1 sha256 x\n", "2:3: error: Invalid authtype [sha256]; write one of crc, md5, sha1"),
        ("auth 1\n1 SHA1 x\n", "2:3: error: Invalid authtype [SHA1]; did you mean 'sha1'?"),
        ("auth 1\n1\n", "2:1: error: Auth line [...] is invalid; "
                        "write 'NUMBER METHOD SECRET', as '1 sha1 secret'"),
        ("auth 1\nsha1 x\n", "2:1: error: Auth line [...] is invalid; "
                             "write 'NUMBER METHOD SECRET', as '1 sha1 secret'"),
    ],
)  # fmt: skip
def test_what_3_0_6_refuses_is_an_error(text: str, finding: str) -> None:
    assert f"authkeys:{finding}" in keys(text)[1]


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("auth 1\n1 sha1 secret # mine\n", "2:15: warning: what follows the secret is ignored; "
                                           "it holds no blanks, and # is no comment"),
        ("auth 1 # first\n1 sha1 secret\n", "1:8: warning: ignored from here to the end of the line"),
        ("auth 1#first\n1 sha1 secret\n", "1:7: warning: ignored from here to the end of the line"),
        ("auth 1\n1 md5 a\n1 sha1 secret\n",
         "3:1: warning: key 1 was given at authkeys:2:1 too; this one counts"),
    ],
)  # fmt: skip
def test_what_3_0_6_reads_in_a_surprising_way_is_a_warning(text: str, finding: str) -> None:
    result, findings = keys(text)
    assert findings == [f"authkeys:{finding}"]
    assert result is not None
    assert result.signer == Key(1, "sha1", b"secret")


def test_an_overlong_secret_is_used_whole_with_a_warning() -> None:
    secret = "x" * 5119
    result, findings = keys(f"auth 1\n1 sha1 {secret}\n")
    assert findings == [
        "authkeys:2:1: warning: longer than 5119 bytes; heartbeat 3.0.6 would read it as two lines"
    ]
    assert result is not None
    assert result.signer.secret == secret.encode()


def test_of_two_auth_lines_the_last_counts_with_a_warning() -> None:
    result, findings = keys("auth 1\n1 crc\nauth 2\n2 sha1 x\n")
    assert findings == [
        "authkeys:3:1: warning: a second auth line; first at authkeys:1:1, the last one counts"
    ]
    assert result is not None
    assert result.signing == 2


@pytest.mark.parametrize(
    "line", ["S3CR3T", "1 S3CR3T", "aS3CR3T 1", "auth S3CR3T", "sha1 S3CR3T", "1 crc S3CR3T"]
)
def test_no_finding_repeats_what_may_be_a_secret(line: str) -> None:
    _, findings = keys(f"auth 1\n1 sha1 x\n{line}\n")
    assert findings
    assert not any("S3CR3T" in finding for finding in findings)


def test_a_key_does_not_show_its_secret() -> None:
    assert "hidden" not in repr(keys("auth 1\n1 sha1 hidden\n"))


_LINE = st.builds(
    "{} {} {}".format,
    st.sampled_from(["auth", "1", "2", "a", "-1", "99", "#"]),
    st.sampled_from(["1", "2", "crc", "md5", "sha1", "sha2"]),
    st.text(max_size=10),
)


@given(st.lists(st.one_of(_LINE, st.text(max_size=20)), max_size=8).map("\n".join))
@settings(max_examples=400)
def test_any_text_gives_usable_keys_or_an_error(text: str) -> None:
    result, findings = keys(text)
    if not any(": error: " in finding for finding in findings):
        assert result is not None
        assert result.signer in result.keys

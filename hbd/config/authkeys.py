"""authkeys: numbered keys, and which of them signs.

`auth N` comes first, then `N method [secret]`. Only a line that begins with `#`
is a comment. Findings never repeat a word that may be a secret: they end in the
journal.
"""

from __future__ import annotations

import re

from hbd.config.findings import Findings, Word, suggestion
from hbd.config.model import Key, Keys, Place
from hbd.config.words import lines, words

METHODS = {"crc": False, "md5": True, "sha1": True}
"""Each method, and whether it takes a secret."""
HIGHEST_KEY = 15


def parse(text: str, path: str, found: Findings) -> Keys | None:
    """The keys, or None if no usable `auth` line selects one of them."""
    keys: dict[int, Key] = {}
    seen: dict[int, Word] = {}
    auth: Word | None = None
    wanted: int | None = None
    signing: int | None = None
    for line in lines(text, path, found):
        given = words(line)
        if not given or given[0].text.startswith("#"):
            continue
        if given[0].text.startswith("a"):
            if auth is not None:
                found.warning(given[0], f"a second auth line; first at {auth.place}, the last one counts")
            auth, wanted = given[0], _auth_number(given, found)
            continue
        number = _key_number(given, found)
        if number is None:
            continue
        if number in seen:
            found.warning(given[0], f"key {number} was given at {seen[number].place} too; this one counts")
        seen[number] = given[0]
        if number == wanted:
            signing = number
        key = _key(number, given, found)
        if key is not None:
            keys[number] = key
    if auth is None:
        top = Place(path, 1, 1)
        found.error(top, f"Missing auth directive in keyfile [{path}]; write 'auth 1' as its first line")
    elif wanted is not None and signing != wanted:
        order = f"; its line must come after the auth line ({auth.place})" if wanted in seen else ""
        found.error(auth, f"Auth Key [{wanted}] not found in keyfile{order}")
        return None
    if signing is None or signing not in keys:
        return None
    return Keys(signing, tuple(keys.values()))


def _auth_number(given: list[Word], found: Findings) -> int | None:
    # 3.0.6 scans a number and looks no further.
    match = re.match(r"[0-9]{1,9}", given[1].text) if len(given) > 1 else None
    if match is None or given[0].text != "auth":
        found.error(given[0], "Invalid auth line [...]; write 'auth 1'")
        return None
    rest = [given[1].part(match.end())] if match.end() < len(given[1].text) else given[2:3]
    if rest:
        found.warning(rest[0], "ignored from here to the end of the line")
    return int(match.group())


def _key_number(given: list[Word], found: Findings) -> int | None:
    first = given[0]
    if len(given) < 2 or re.fullmatch(r"-?[0-9]{1,9}", first.text) is None:
        found.error(first, "Auth line [...] is invalid; write 'NUMBER METHOD SECRET', as '1 sha1 secret'")
        return None
    number = int(first.text)
    if not 0 <= number <= HIGHEST_KEY:
        found.error(first, f"Invalid authnum [{number}]; a key has a number from 1 to {HIGHEST_KEY}")
        return None
    return number


def _key(number: int, given: list[Word], found: Findings) -> Key | None:
    method, *rest = given[1:]
    if method.text not in METHODS:
        # With no third word this may be the secret itself.
        name = f"Invalid authtype [{method.text}]" if rest else "Invalid authtype"
        hint = suggestion(method.text, METHODS) or f"; write one of {', '.join(METHODS)}"
        found.error(method, name + (hint if rest else f"; write '{number} sha1 SECRET'"))
        return None
    if not METHODS[method.text]:
        if rest:
            found.error(rest[0], f"Auth method [{method.text}] doesn't use a key; remove what follows it")
            return None
        return Key(number, method.text, b"")
    if not rest:
        text = f"Auth method [{method.text}] requires a key; write '{number} {method.text} SECRET'"
        found.error(method, text)
        return None
    if len(rest) > 1:
        found.warning(rest[1], "what follows the secret is ignored; it holds no blanks, and # is no comment")
    return Key(number, method.text, rest[0].text.encode("utf-8", "surrogateescape"))

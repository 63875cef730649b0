"""Redaction of an e-mail address in texts and JSON, and comparison of redacted texts. No I/O.

All other bytes of a body stay unchanged. A redacted body compares equal to its original, so that a
resend by the agent is a duplicate, not a conflict.
"""

import json
import re
import unicodedata
from dataclasses import dataclass
from itertools import count

from sync.protocol.json_equality import json_equal

MARK = "[address forgotten]"
# In correlation ids and JSON names the mark is numbered, so that distinct values stay distinct.
_ANY_MARK = re.compile(r"\[address forgotten(?: [0-9a-f]{32})?\]")
_MARK_BEGINS = MARK[:-1]
_JSON_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_END_OF_NAME = re.compile(r"\s*:")
_ASCII_WORD = re.compile(r"[a-z0-9]+")
_LONGEST = 320


@dataclass(frozen=True, slots=True)
class Address:
    """An e-mail address to redact, matched in any case and Unicode normalization form.

    `word` is the SQL prefilter: every text with the address contains it, once lowercased and
    unescaped. It may be empty.
    """

    word: str
    _pattern: re.Pattern[str]

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Parse the address. Raises `ValueError`, whose message never contains it."""
        address = text.strip()
        local, _, domain = address.rpartition("@")
        if not local or not domain or len(address) > _LONGEST or not address.isprintable():
            raise ValueError("expected an e-mail address")
        forms = {unicodedata.normalize(form, address) for form in ("NFC", "NFD")} | {address}
        # In a URL the @ is percent-encoded.
        alternatives = "|".join(re.escape(form).replace("@", "(?:@|%40)") for form in sorted(forms))
        # Do not match a part of a longer address or of a longer domain.
        pattern = re.compile(rf"(?<![\w.+-])(?:{alternatives})(?!-?\w|\.\w)", re.IGNORECASE)
        words = _ASCII_WORD.findall(unicodedata.normalize("NFC", address).lower())
        return cls(max(words, key=len, default=""), pattern)

    def occurs_in(self, text: str) -> bool:
        """Return whether a plain text contains the address."""
        return self._pattern.search(text) is not None

    def redact(self, text: str, mark: str = MARK) -> str:
        """Return a plain text with each occurrence replaced by `mark`."""
        return self._pattern.sub(lambda _: mark, text)

    def redact_json(self, text: str) -> str:
        """Return a JSON text with each occurrence replaced, also in member names.

        Marks in member names are numbered, so that distinct names of an object stay distinct.
        """
        numbers = count(len(_ANY_MARK.findall(text)))

        def clean(token: re.Match[str]) -> str:
            try:
                plain = json.loads(token[0], strict=False)
            except ValueError:
                # Not valid JSON: redact it as plain text.
                return self.redact(token[0])
            if not self.occurs_in(plain):
                return token[0]
            number = next(numbers) if _END_OF_NAME.match(text, token.end()) else 0
            mark = numbered_mark(f"{number:032x}") if number else MARK
            return json.dumps(self.redact(plain, mark))

        return _JSON_STRING.sub(clean, text)


def may_hold_address(text: str) -> bool:
    """Return whether a text may hold an address, or holds the mark of a redacted one.

    Redaction never changes a text for which this is False.
    """
    return "@" in text or "%40" in text or _MARK_BEGINS in text


def same_body(received: str, stored: str) -> bool:
    """Return whether a received body equals the stored one, ignoring redactions."""
    same = same_text if MARK in stored else None
    return json_equal(received.encode(), stored.encode(), equal_text=same)


def same_text(received: str | None, stored: str | None) -> bool:
    """Return whether a received text equals the stored one, ignoring redactions."""
    if received is None or stored is None or received == stored:
        return received == stored
    first, *others = _ANY_MARK.split(stored)
    if not others or not received.startswith(first):
        return False
    *between, last = others
    at = len(first)
    # Each mark stands for at least one character. Matching each piece as early as possible leaves
    # the most text for the pieces after it.
    for piece in between:
        found = received.find(piece, at + 1)
        if found < 0:
            return False
        at = found + len(piece)
    return len(received) - len(last) > at and received.endswith(last)


def numbered_mark(number: str) -> str:
    """Return a numbered mark; `number` is 32 hexadecimal digits."""
    return f"{MARK[:-1]} {number}]"

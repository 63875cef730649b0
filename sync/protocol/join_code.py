"""Join code: one line by which a POS machine joins head office; printed, typed or pasted.

    LJ1:0042/till-1@hq.example.com+7Q2MX-…-4TB1C

Version, store, till, URL (without `https://`), then groups of five symbols of Crockford's base 32:
a secret of 125 bits, the first 125 bits of the authority's SHA-256 fingerprint unless its
certificate is publicly trusted, and a checksum of 25 bits over everything before it. Case, hyphens,
spaces, line breaks, O for 0 and I or L for 1 are forgiven in the symbols. No I/O.
"""

import hashlib
import re
import unicodedata
from dataclasses import dataclass, field

_PREFIX = "LJ1:"
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_READ_AS = str.maketrans("OIL", "011")
_ANY_VERSION = re.compile(r"LJ([0-9]{1,4}):", re.IGNORECASE)
_HTTPS = "https://"
_URL = re.compile(r"[a-z]+://[A-Za-z0-9._~:/%\[\]-]{1,500}")
_BITS, _GROUP = 5, 5
# Bits that fill whole symbols and whole groups.
_SECRET_SYMBOLS = _AUTHORITY_SYMBOLS = 25
_CHECK_SYMBOLS = 5
_LENGTHS = (_SECRET_SYMBOLS + _CHECK_SYMBOLS, _SECRET_SYMBOLS + _AUTHORITY_SYMBOLS + _CHECK_SYMBOLS)
# Enough random bytes for the secret's symbols.
SECRET_BYTES = 16
MAX_CHARACTERS = 1_000
# Word processors and mail programs put other characters for a hyphen.
_HYPHENS = re.compile("[\u2010-\u2015\u2212\u00ad\ufe58\ufe63\uff0d]")
_INVISIBLE = re.compile("[\\s\u200b-\u200d\u2060\ufeff]+")


class JoinCodeError(ValueError):
    """The text is not a valid join code; the message gives the reason and never quotes the code."""


@dataclass(frozen=True, slots=True)
class JoinCode:
    """A parsed code. `authority`: start of the fingerprint in symbols; empty: publicly trusted."""

    store_id: str
    till_id: str
    url: str
    secret: str = field(repr=False)
    authority: str = ""

    def __str__(self) -> str:
        """Return the code as it is printed. It is a secret until it is used."""
        symbols = self.secret + self.authority
        head = _head_of(self)
        return f"{head}+{_grouped(symbols + _checksum(head, symbols))}"


def make_secret(random: bytes) -> str:
    """Return the secret of a code in symbols, from `SECRET_BYTES` random bytes."""
    return _symbols(random, _SECRET_SYMBOLS)


def authority_mark(certificate: bytes) -> str:
    """Return the start of a certificate's (DER) SHA-256 fingerprint, in symbols."""
    return _symbols(hashlib.sha256(certificate).digest(), _AUTHORITY_SYMBOLS)


def is_authority_mark(text: str) -> bool:
    """Return whether `text` can be the mark of an authority."""
    return len(text) == _AUTHORITY_SYMBOLS and set(text) <= set(_ALPHABET)


def is_encodable_url(url: str) -> bool:
    """Return whether `url` is valid in a code, and so safe in CSV and in a shell."""
    return _URL.fullmatch(url) is not None


def parse_join_code(text: str) -> JoinCode:
    """Return the code in `text`. Raises `JoinCodeError`."""
    if len(text) > MAX_CHARACTERS:
        raise JoinCodeError(f"a join code has at most {MAX_CHARACTERS} characters")
    text = _HYPHENS.sub("-", _INVISIBLE.sub("", text)).strip("\"'<>`")
    version = _ANY_VERSION.match(text)
    if version is None:
        raise JoinCodeError(f"this is not a join code: a code begins with {_PREFIX}")
    if version[1] != "1":
        raise JoinCodeError(
            f"this join code has format {version[1]}, and this version of the program reads"
            " format 1: upgrade the program, or ask head office for another code"
        )
    head, plus, rest = text[version.end() :].rpartition("+")
    names, at, address = head.partition("@")
    store_id, slash, till_id = names.partition("/")
    if not (plus and at and slash and store_id and till_id and address):
        raise JoinCodeError("the join code is incomplete: copy the whole line")
    symbols = _read_symbols(rest)
    secret, authority = symbols[:_SECRET_SYMBOLS], symbols[_SECRET_SYMBOLS:-_CHECK_SYMBOLS]
    url = address if "://" in address else f"{_HTTPS}{address}"
    code = JoinCode(store_id, till_id, url, secret, authority)
    if _checksum(_head_of(code), secret + authority) != symbols[-_CHECK_SYMBOLS:]:
        raise JoinCodeError(
            "the join code is mistyped: its checksum does not match. Compare it with the original"
            " character by character, small and capital letters of the names included"
        )
    return code


def _read_symbols(text: str) -> str:
    symbols = text.replace("-", "").upper().translate(_READ_AS)
    wrong = next((one for one in symbols if one not in _ALPHABET), None)
    if wrong is not None:
        name = f'"{wrong}"' if wrong.isascii() else unicodedata.name(wrong, "another character")
        raise JoinCodeError(f"the join code is mistyped: no code has {name} after its plus sign")
    if len(symbols) not in _LENGTHS:
        expected = " or ".join(map(str, _LENGTHS))
        raise JoinCodeError(
            f"the join code is mistyped: {len(symbols)} letters and digits after its plus sign,"
            f" expected {expected}"
        )
    return symbols


def _head_of(code: JoinCode) -> str:
    """Return the readable part of a code, before its plus sign."""
    return f"{_PREFIX}{code.store_id}/{code.till_id}@{code.url.removeprefix(_HTTPS)}"


def _checksum(head: str, symbols: str) -> str:
    return _symbols(hashlib.sha256(f"{head}+{symbols}".encode()).digest(), _CHECK_SYMBOLS)


def _symbols(content: bytes, count: int) -> str:
    """Return the first bits of `content` in `count` symbols."""
    bits = int.from_bytes(content) >> (8 * len(content) - _BITS * count)
    return "".join(_ALPHABET[bits >> _BITS * place & 31] for place in reversed(range(count)))


def _grouped(symbols: str) -> str:
    return "-".join(symbols[at : at + _GROUP] for at in range(0, len(symbols), _GROUP))

"""Localization of the pages: language negotiation, messages, number and time formats. No I/O."""

import tomllib
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

_WORDS = Path(__file__).parent / "words"
DEFAULT = "en"
# French uses a narrow no-break space between thousands and before units.
_THIN = "\u202f"
_THOUSANDS = {"en": ",", "fr": _THIN}
_DECIMAL = {"en": ".", "fr": ","}
_KIB = 1024
_UNITS = {"en": ("KiB", "MiB", "GiB", "TiB"), "fr": ("Kio", "Mio", "Gio", "Tio")}
_SPANS = ((86_400, "days"), (3_600, "hours"), (60, "minutes"), (1, "seconds"))
# Below two of a unit the next smaller one is clearer: "90 min" instead of "1 h".
_AT_LEAST = 2


class Language:
    """Message catalogue of one language; call it with a key: `say("title")`."""

    def __init__(self, code: str, words: Mapping[str, str]) -> None:
        self.code = code
        self._words = words

    def __call__(self, name: str, **values: object) -> str:
        """Return the message with placeholders filled from `values`."""
        words = self._words[name]
        return words.format_map(values) if values else words

    def counted(self, name: str, count: int) -> str:
        """Return the singular or plural message, with the number filled in."""
        is_one = count <= 1 if self.code == "fr" else count == 1
        return self(f"{name}.{'one' if is_one else 'many'}", count=self.number(count))

    def number(self, number: int) -> str:
        """Format an integer: 10,000."""
        return f"{number:,}".replace(",", _THOUSANDS[self.code])

    def size(self, size_bytes: int) -> str:
        """Format a size in the largest fitting unit."""
        size, units = size_bytes / _KIB, _UNITS[self.code]
        for unit in units[:-1]:
            if size < _KIB:
                return self._sized(size, unit)
            size /= _KIB
        return self._sized(size, units[-1])

    def span(self, span: timedelta) -> str:
        """Format a duration: 12 min."""
        seconds = max(0.0, span.total_seconds())
        for in_seconds, name in _SPANS:
            if seconds >= in_seconds * _AT_LEAST or in_seconds == 1:
                return self(f"span.{name}", count=self.number(int(seconds // in_seconds)))
        raise AssertionError(seconds)

    def seconds(self, seconds: float) -> str:
        """Format a duration in seconds."""
        return self.span(timedelta(seconds=seconds))

    def ago(self, at: datetime, now: datetime) -> str:
        """Format the time since `at`: 12 min ago."""
        return self("ago", span=self.span(now - at))

    def _sized(self, size: float, unit: str) -> str:
        return f"{size:.1f} {unit}".replace(".", _DECIMAL[self.code])


@cache
def languages() -> Mapping[str, Language]:
    """Return all languages by code, the default first."""
    files = sorted(_WORDS.glob("*.toml"), key=lambda file: (file.stem != DEFAULT, file.stem))
    return {file.stem: Language(file.stem, _flat(_read(file))) for file in files}


def choose(asked: str, accepted: str) -> Language:
    """Return the requested language, else the best of Accept-Language (RFC 9110, 12.5.4)."""
    known = languages()
    if asked in known:
        return known[asked]
    wishes = sorted(map(_wish, accepted.split(",")), key=lambda wish: -wish[1])
    wanted = (code for code, weight in wishes if weight > 0)
    return known[next((code for code in wanted if code in known), DEFAULT)]


def _wish(written: str) -> tuple[str, float]:
    tag, _, parameters = written.strip().partition(";")
    code = tag.strip().partition("-")[0].lower()
    name, _, weight = parameters.strip().partition("=")
    if name.strip().lower() != "q":
        return code, 1.0
    try:
        return code, float(weight)
    except ValueError:
        return code, 0.0


def _read(file: Path) -> Mapping[str, object]:
    return tomllib.loads(file.read_text("utf-8"))


def _flat(words: Mapping[str, object], before: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in words.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{before}{name}.")
        else:
            flat[before + name] = str(value)
    return flat

"""Localization of the pages: language negotiation, messages, number and time formats. No I/O."""

import tomllib
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

_MESSAGES = Path(__file__).parent / "messages"
DEFAULT = "en"
# French uses a narrow no-break space between thousands and before units.
_THIN = "\u202f"
_THOUSANDS = {"en": ",", "fr": _THIN}
_DECIMAL = {"en": ".", "fr": ","}
_KIB = 1024
_UNITS = {"en": ("KiB", "MiB", "GiB", "TiB"), "fr": ("Kio", "Mio", "Gio", "Tio")}
_SPANS = ((86_400, "days"), (3_600, "hours"), (60, "minutes"), (1, "seconds"))
# Below two of a unit the next smaller one is clearer: "90 min" instead of "1 h".
_MIN_COUNT = 2


class Language:
    """Message catalogue of one language; call it with a key: `t("title")`."""

    def __init__(self, code: str, messages: Mapping[str, str]) -> None:
        self.code = code
        self._messages = messages

    def __call__(self, name: str, **values: object) -> str:
        """Return the message with placeholders filled from `values`."""
        message = self._messages[name]
        return message.format_map(values) if values else message

    def plural(self, name: str, count: int) -> str:
        """Return the singular or plural message, with the number filled in."""
        is_one = count <= 1 if self.code == "fr" else count == 1
        return self(f"{name}.{'one' if is_one else 'many'}", count=self.number(count))

    def number(self, number: int) -> str:
        """Format an integer: 10,000."""
        return f"{number:,}".replace(",", _THOUSANDS[self.code])

    def size(self, size_bytes: int) -> str:
        """Format a size in the largest fitting unit."""
        size, (unit, *larger) = size_bytes / _KIB, _UNITS[self.code]
        while size >= _KIB and larger:
            size, unit = size / _KIB, larger.pop(0)
        return f"{size:.1f} {unit}".replace(".", _DECIMAL[self.code])

    def duration(self, duration: timedelta) -> str:
        """Format a duration: 12 min."""
        seconds = max(0.0, duration.total_seconds())
        for in_seconds, name in _SPANS:
            if seconds >= in_seconds * _MIN_COUNT or in_seconds == 1:
                return self(f"duration.{name}", count=self.number(int(seconds // in_seconds)))
        raise AssertionError(seconds)

    def seconds(self, seconds: float) -> str:
        """Format a duration in seconds."""
        return self.duration(timedelta(seconds=seconds))

    def ago(self, at: datetime, now: datetime) -> str:
        """Format the time since `at`: 12 min ago."""
        return self("ago", duration=self.duration(now - at))


@cache
def languages() -> Mapping[str, Language]:
    """Return all languages by code, the default first."""
    files = sorted(_MESSAGES.glob("*.toml"), key=lambda file: (file.stem != DEFAULT, file.stem))
    messages = {file.stem: _flat(tomllib.loads(file.read_text("utf-8"))) for file in files}
    return {code: Language(code, texts) for code, texts in messages.items()}


def negotiate(requested: str, accepted: str) -> Language:
    """Return the requested language, else the best of Accept-Language (RFC 9110, 12.5.4)."""
    known = languages()
    if requested in known:
        return known[requested]
    preferences = sorted(map(_preference, accepted.split(",")), key=lambda one: -one[1])
    wanted = (code for code, weight in preferences if weight > 0)
    return known[next((code for code in wanted if code in known), DEFAULT)]


def _preference(text: str) -> tuple[str, float]:
    tag, _, parameters = text.strip().partition(";")
    code = tag.strip().partition("-")[0].lower()
    name, _, weight = parameters.strip().partition("=")
    if name.strip().lower() != "q":
        return code, 1.0
    try:
        return code, float(weight)
    except ValueError:
        return code, 0.0


def _flat(messages: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in messages.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = str(value)
    return flat

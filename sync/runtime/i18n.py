"""Localization: catalogues of messages, language negotiation, number and time formats."""

import tomllib
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

DEFAULT = "en"
# French uses a narrow no-break space between thousands and before units.
_THIN = "\u202f"
# Around a text in another language. Messages contain no such marks.
OPEN_QUOTE, CLOSE_QUOTE = f"«{_THIN}", f"{_THIN}»"
_THOUSANDS = {"en": ",", "fr": _THIN}
_DECIMAL = {"en": ".", "fr": ","}
_FRENCH_PLURAL = 2  # 1,5 jour, 2 jours
_KIB = 1024
_UNITS = {"en": ("KiB", "MiB", "GiB", "TiB"), "fr": ("Kio", "Mio", "Gio", "Tio")}
_SPANS = ((86_400, "days"), (3_600, "hours"), (60, "minutes"), (1, "seconds"))
# In the order in which POSIX looks at them: the first that is set and not empty decides.
_VARIABLES = ("LC_ALL", "LC_MESSAGES", "LANG")
# Below two of a unit the next smaller one is clearer: "90 min" instead of "1 h".
_MIN_COUNT = 2


class Language:
    """Message catalogue of one language; call it with a key: `t("title")`.

    `messages` are all of them by key, with their placeholders.
    """

    def __init__(self, code: str, messages: Mapping[str, str]) -> None:
        self.code = code
        self.messages = messages

    def __call__(self, name: str, /, **values: object) -> str:
        """Return the message with placeholders filled from `values`."""
        message = self.messages[name]
        return message.format_map(values) if values else message

    def plural(self, name: str, count: float) -> str:
        """Return the singular or plural message, with the number filled in."""
        shown = self.number(count) if isinstance(count, int) else self.decimal(count)
        return self(f"{name}.{self.plural_form(count)}", count=shown)

    def plural_form(self, count: float) -> str:
        """Return the key of the form for a number: `one` or `many`."""
        is_one = count < _FRENCH_PLURAL if self.code == "fr" else count == 1
        return "one" if is_one else "many"

    def has(self, name: str) -> bool:
        """Return whether the catalogue holds the message."""
        return name in self.messages

    def quote(self, text: str) -> str:
        """Return a text that is in English in every language, in quotation marks if this is not."""
        return text if self.code == DEFAULT else f"{OPEN_QUOTE}{text}{CLOSE_QUOTE}"

    def decimal(self, number: float) -> str:
        """Format a number with as many decimals as it has: 2.5."""
        return self.decimal_sign(f"{number:g}")

    def decimal_sign(self, number: str) -> str:
        """Return a formatted number with the decimal sign of the language."""
        return number.replace(".", _DECIMAL[self.code])

    def number(self, number: int) -> str:
        """Format an integer: 10,000."""
        return f"{number:,}".replace(",", _THOUSANDS[self.code])

    def size(self, size_bytes: int) -> str:
        """Format a size in the largest fitting unit."""
        size, (unit, *larger) = size_bytes / _KIB, _UNITS[self.code]
        while size >= _KIB and larger:
            size, unit = size / _KIB, larger.pop(0)
        return f"{size:.1f} {unit}".replace(".", _DECIMAL[self.code])

    def size_in(self, size_bytes: int, power: int) -> str:
        """Format a size in KiB (power 1), MiB (2), GiB or TiB."""
        size = f"{size_bytes / _KIB**power:,.1f}".partition(".")
        number = size[0].replace(",", _THOUSANDS[self.code]) + _DECIMAL[self.code] + size[2]
        return f"{number} {_UNITS[self.code][power - 1]}"

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


def load_languages(directory: Path) -> Mapping[str, Language]:
    """Read the catalogues `CODE.toml` of a directory; return all by code, the default first."""
    files = sorted(directory.glob("*.toml"), key=lambda file: (file.stem != DEFAULT, file.stem))
    messages = {file.stem: _flat(tomllib.loads(file.read_text("utf-8"))) for file in files}
    return {code: Language(code, texts) for code, texts in messages.items()}


def code_of_locale(variables: Mapping[str, str]) -> str:
    """Return the language code of the locale (`fr` of `fr_CA.UTF-8`); empty if none is set."""
    locale = next((variables[name] for name in _VARIABLES if variables.get(name)), "")
    return locale.partition(".")[0].partition("@")[0].partition("_")[0].lower()


def negotiate(known: Mapping[str, Language], requested: str, accepted: str) -> Language:
    """Return the requested language, else the best of Accept-Language (RFC 9110, 12.5.4)."""
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

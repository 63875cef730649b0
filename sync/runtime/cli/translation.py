"""Translates the output of commands for people from English into the language of the locale.

A catalogue maps an English text to its translation; `{name}` is a placeholder in both. A text
is recognised when it is printed. Obvious: gettext calls where texts arise. Why not: these are 400
places in rules that are otherwise free of presentation, and JSON needs their English all the same.
Price: a match of each printed line against the catalogue, in other locales than English alone, and
a test that compares the catalogue with the sources.
"""

import os
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache, cached_property
from pathlib import Path
from string import Formatter

from sync.runtime.i18n import DEFAULT, Language, code_of_locale, load_languages

SHARED = Path(__file__).parent / "languages"
# Of the program that runs, beside the shared ones.
_directories = [SHARED]
# Values of a placeholder, by its format in the translation: a number, a word, a number with a noun,
# a text as it is, or a text that is translated; each within one sentence.
_TEXT = r"(?:(?![.!?]\s+[A-Z]).)+?"
_VALUES = {
    "n": r"-?[0-9][0-9,]*(?:\.[0-9]+)?",
    "w": r"\S+?",
    "c": r"[0-9][0-9,]* [a-z]+",
    "s": _TEXT,
    "": _TEXT,
}
# No-break spaces, which a terminal may not show.
_SPACE = re.compile("[\u00a0\u202f]")
_SIGNS = str.maketrans({",": " ", ".": ","})
# Between parts that are translated one by one if there is no translation of the whole.
_SEPARATORS = (re.compile(r"(?<=[.!?])(\s+)(?=[A-Z-])"), re.compile("(; )"), re.compile("(, )"))


class Catalogue(Formatter):
    """Translations of English texts into one language."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = texts

    def translate(self, text: str) -> str:
        """Return the translation of a text; parts without one stay as they are."""
        bare = text.strip()
        if not bare:
            return text
        found = self._translate(bare)
        return text if found == bare else text.replace(bare, found)

    def format_field(self, value: str, format_spec: str) -> str:
        """Return a value in the language, by its format: see `_VALUES`."""
        if format_spec == "n":
            return value.translate(_SIGNS)
        return value if format_spec in {"s", "w"} else self.translate(value)

    def _translate(self, text: str) -> str:
        if "{" not in text and (exact := self._texts.get(text)) is not None:
            return exact
        for pattern, translation in self._patterns:
            if (found := pattern.fullmatch(text)) is not None:
                return self.vformat(translation, (), found.groupdict())
        for separator in _SEPARATORS:
            if len(parts := separator.split(text)) > 1:
                return "".join(map(self.translate, parts))
        return text

    @cached_property
    def _patterns(self) -> list[tuple[re.Pattern[str], str]]:
        """Patterns of the texts with placeholders; those with the most words of their own first."""
        texts = sorted(self._texts, key=lambda text: -len("".join(literals(text))))
        pairs = ((text, self._texts[text]) for text in texts if "{" in text)
        return [(_pattern_of(text, translation), translation) for text, translation in pairs]


def literals(text: str) -> Iterator[str]:
    """Yield the parts of a text between its placeholders."""
    return (part for part, *_ in Formatter().parse(text))


def _pattern_of(text: str, translation: str) -> re.Pattern[str]:
    specs = {name: spec for _, name, spec, _ in Formatter().parse(translation)}
    parts, seen = [], set[str]()
    for literal, name, *_ in Formatter().parse(text):
        parts.append(re.escape(literal))
        if name is not None:
            value = _VALUES[specs[name] or ""]
            parts.append(f"(?P={name})" if name in seen else f"(?P<{name}>{value})")
            seen.add(name)
    return re.compile("".join(parts), re.DOTALL)


def add_directory(directory: Path) -> None:
    """Use the catalogues in a directory, too.

    `CODE.toml` maps English texts to translations. Beside an `en.toml` with the same keys, as the
    pages have them, it gives the constant texts.
    """
    if directory not in _directories:
        _directories.append(directory)


def read_texts(file: Path) -> dict[str, str]:
    """Return the texts of a catalogue; its tables only group them."""
    groups: dict[str, dict[str, str]] = tomllib.loads(file.read_text("utf-8"))
    return {english: text for group in groups.values() for english, text in group.items()}


def in_language(text: str, *, err: bool = False) -> str:
    """Return a text in the language of the locale, for standard output or error.

    It stays English if there is no catalogue, or if the stream cannot encode its letters.
    """
    code = code_of_locale(os.environ)
    if code in {"c", "posix", DEFAULT} or not code.isalpha():
        return text
    found = _read(code, tuple(_directories))
    if found is None:
        return text
    translation = found.translate(text)
    stream = sys.stderr if err else sys.stdout
    try:
        # A progress display puts a stream without an encoding before the terminal's.
        translation.encode(getattr(stream, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return text
    return translation


@cache
def _read(code: str, directories: tuple[Path, ...]) -> Catalogue | None:
    texts: dict[str, str] = {}
    for directory in directories:
        if (directory / f"{DEFAULT}.toml").exists():
            texts |= _constants(load_languages(directory), code)
        elif (file := directory / f"{code}.toml").exists():
            texts |= read_texts(file)
    return Catalogue(texts) if texts else None


def _constants(languages: Mapping[str, Language], code: str) -> dict[str, str]:
    if code not in languages:
        return {}
    english, other = languages[DEFAULT].messages, languages[code].messages
    return {
        text: _SPACE.sub(" ", other[key])
        for key, text in english.items()
        if text and "{" not in text
    }

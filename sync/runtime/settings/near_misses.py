"""Finds environment variables that are nearly those of a setting: nothing reads them."""

import difflib
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from sync.runtime.settings.names import known_settings, variable
from sync.runtime.settings.schema import SettingsTree

_NOT_IN_A_WORD = re.compile(r"[^A-Z0-9]")
# Of a name under our own prefix, and of one that only begins alike: another program's, perhaps.
_OURS, _ANYBODYS = 0.6, 0.8
_FAMILY = "LOYALTY"


class NearMiss(NamedTuple):
    """A variable that is not read, and the one that it may mean; empty if none is similar."""

    name: str
    meant: str

    def __str__(self) -> str:
        """Return one line for the operator."""
        meant = f"; did you mean {self.meant}?" if self.meant else ""
        return f"{self.name}: this variable is not read{meant}"


def find_near_misses(model: type[SettingsTree], environ: Mapping[str, str]) -> Iterator[NearMiss]:
    """Yield the variables that look like those of `model`, but lack its prefix.

    One with the prefix and a wrong setting is an error of the settings.
    """
    prefix = model.environment_prefix()
    known = _known_by_letters(model)
    for name in sorted(environ):
        upper = name.upper()
        if not upper.startswith(_FAMILY) or _is_read(upper, prefix):
            continue
        is_ours = _letters(upper).startswith(_letters(prefix))
        meant = _most_similar(_letters(upper), known, _OURS if is_ours else _ANYBODYS)
        if is_ours or meant:
            yield NearMiss(name, meant)


def _known_by_letters(model: type[SettingsTree]) -> dict[str, str]:
    """Return the variables of all settings by their letters, with the section and without."""
    prefix, paths = model.environment_prefix(), list(known_settings(model))
    names = Counter(path[-1] for path in paths)
    short = {prefix + path[-1].upper(): path for path in paths if names[path[-1]] == 1}
    known = {_letters(name): variable(model, path) for name, path in short.items()}
    return known | {_letters(name): name for name in (variable(model, path) for path in paths)}


def _is_read(name: str, prefix: str) -> bool:
    """Return whether a program of ours reads it, this one or the other."""
    return name.startswith((prefix, "LOYALTY_AGENT__", "LOYALTY_HQ__"))


def _most_similar(letters: str, known: Mapping[str, str], least: float) -> str:
    if letters in known:
        return known[letters]
    ratios = {name: difflib.SequenceMatcher(None, letters, name).ratio() for name in known}
    best = max(ratios, key=lambda name: ratios[name])
    return known[best] if ratios[best] >= least else ""


def _letters(name: str) -> str:
    return _NOT_IN_A_WORD.sub("", name)

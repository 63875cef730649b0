"""Reads a wrong configuration as far as it can be read.

A statement that is not TOML is left out, and a misspelt name is taken for the only one like it.
"""

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Generic, TypeVar

from sync.runtime.settings.load import examine
from sync.runtime.settings.names import canonical, known_settings, suggestions, variable
from sync.runtime.settings.schema import SettingsTree
from sync.runtime.settings.secret_files import find_file_errors
from sync.runtime.settings.toml_lines import SettingPath, find_statements

Tree = TypeVar("Tree", bound=SettingsTree)
# A table's header, also without its closing bracket; a setting, with the first line of its value.
_HEADER = re.compile(r"[ \t]*\[+[ \t]*([A-Za-z0-9_.-]+)(.*)")
_SETTING = re.compile(r"[ \t]*([A-Za-z0-9_.-]+)[ \t]*=(.*)")


@dataclass(frozen=True, slots=True)
class Readable(Generic[Tree]):
    """The valid settings of a configuration, with defaults for the others.

    `unusable`: it sets these, to a wrong value or file. `lost`: it may set these, because the file
    is cut off or cannot be read.
    """

    settings: Tree
    unusable: frozenset[SettingPath]
    lost: frozenset[SettingPath]


@dataclass(slots=True)
class _Values:
    """The value of each setting as it is written, and the settings whose value cannot be read."""

    found: dict[SettingPath, str] = field(default_factory=dict)
    unusable: set[SettingPath] = field(default_factory=set)
    is_cut_off: bool = False

    def add(self, path: SettingPath, value: str) -> None:
        """Add a setting as TOML; one that is set twice has no value."""
        if not _is_toml(f"value = {value}") or path in self.found:
            self.unusable.add(path)
        else:
            self.found[path] = value

    def spell(self, model: type[SettingsTree]) -> None:
        """Give each its known name; where several names may be meant, they are unusable."""
        known = known_settings(model)
        wrong = [path for path in (*self.found, *self.unusable) if canonical(path) not in known]
        for path in wrong:
            meant = suggestions(model, path, table=False)
            value = self.found.pop(path, None)
            self.unusable.discard(path)
            if value is None or len(meant) != 1 or meant[0] in self.found:
                self.unusable.update(meant)
            else:
                self.found[meant[0]] = value


def read_as_far_as_possible(
    model: type[Tree], file: Path | None, environ: Mapping[str, str], text: str | None
) -> Readable[Tree] | None:
    """Return the settings in `text`, that of `file`, and `environ`; None if none are valid.

    Without a text the file cannot be read: all of its settings are lost.
    """
    prefix, own = model.environment_prefix(), model.own_variables(environ)
    values = _Values(is_cut_off=True) if text is None else _values(text)
    variables = _Values({tuple(n[len(prefix) :].lower().split("__")): own[n] for n in own})
    for one in (values, variables):
        one.spell(model)
    readable = "\n".join(f"{_key(path)} = {value}" for path, value in values.found.items())
    named = {variable(model, path): value for path, value in variables.found.items()}
    settings, errors = examine(model, file, model.other_variables(environ) | named, readable)
    if settings is None:
        return None
    wrong = {tuple(one.setting.split(".")) for one in (*errors, *find_file_errors(settings))}
    lost = known_settings(model).keys() if values.is_cut_off else frozenset()
    lost -= values.found.keys() | variables.found.keys()
    unusable = frozenset(values.unusable | variables.unusable | wrong)
    return Readable(settings, unusable, frozenset(lost))


def _values(text: str) -> _Values:
    text = text.replace("\r\n", "\n")
    if not _is_toml(text):
        return _values_one_by_one(text)
    found = [one for one in find_statements(text) if not one.is_header]
    return _Values({one.path: text[one.value_at : one.value_end] for one in found})


def _values_one_by_one(text: str) -> _Values:
    """Return the settings of a text that is not TOML.

    A value ends where the next setting or table begins. The text is cut off if its last statement
    is not TOML.
    """
    values = _Values()
    table: SettingPath = ()
    lines = text.split("\n")
    starts = [n for n, line in enumerate(lines) if _HEADER.match(line) or _SETTING.match(line)]
    for start, end in pairwise([*starts, len(lines)]):
        statement = "\n".join(lines[start:end])
        values.is_cut_off = not _is_toml(statement)
        if header := _HEADER.match(lines[start]):
            table = tuple(header[1].split("."))
        elif setting := _SETTING.match(lines[start]):
            values.add((*table, *setting[1].split(".")), statement.partition("=")[2])
    return values


def _is_toml(text: str) -> bool:
    try:
        tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError):
        return False
    return True


def _key(path: SettingPath) -> str:
    return ".".join(json.dumps(part) for part in path)

"""Configuration errors for the operator: file, line, setting, message and suggestion."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from annotated_types import Ge, Le
from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from sync.runtime.settings.names import (
    dotted,
    known_sections,
    known_settings,
    suggestions,
    variable,
)
from sync.runtime.settings.schema import CONTRADICTION, SettingsTree
from sync.runtime.settings.toml_lines import SettingPath
from sync.runtime.settings.types import Description

# Of proxy_user, as some write the password behind it.
_SECRET = re.compile("token|secret|password|key|header_value|proxy_user", re.IGNORECASE)
_USER_IN_URL = re.compile(r"//[^/\s]*@")
_MAX_SHOWN = 80


@dataclass(frozen=True, slots=True)
class SettingError:
    """One error in the configuration: place (file or variable), setting and remedy.

    `line` counts from 1; 0 if there is none.
    """

    place: str
    setting: str
    message: str
    line: int = 0

    def __str__(self) -> str:
        """Return one line for the operator."""
        where = f"{self.place}, line {self.line}" if self.line else self.place
        return ": ".join(part for part in (where, self.setting, self.message) if part)


class ConfigurationError(Exception):
    """The configuration has errors; the text lists all of them, one a line."""

    def __init__(self, errors: Iterable[SettingError]) -> None:
        self.errors = tuple(sorted(errors, key=_reading_order))
        super().__init__(self.errors)

    def __str__(self) -> str:
        """Return the message for the operator."""
        count = len(self.errors)
        head = "1 error" if count == 1 else f"{count} errors"
        return "\n".join([f"{head} in the configuration:", *(f"  {e}" for e in self.errors)])


def _reading_order(error: SettingError) -> tuple[bool, int, str, str]:
    return (error.line == 0, error.line, error.place, error.setting)


@dataclass(frozen=True, slots=True)
class Layer:
    """The settings from one source (environment, file or defaults) and their line numbers.

    `place` is empty for the environment, where each setting has its own variable.
    """

    model: type[SettingsTree]
    tree: dict[str, object]
    place: str
    lines: Mapping[SettingPath, int] = field(default_factory=dict)
    errors: list[SettingError] = field(default_factory=list)

    def get(self, path: SettingPath) -> object:
        """Return the value of `path`, a table too; None if this source does not set it."""
        value: object = self.tree
        for name in path:
            if not isinstance(value, dict) or name not in value:
                return None
            value = value[name]
        return value

    def set(self, path: SettingPath, value: object) -> None:
        """Set a known setting. None is nested in another one, so each parent is a table."""
        table = self.tree
        for name in path[:-1]:
            inner = table.setdefault(name, {})
            assert isinstance(inner, dict)  # noqa: S101 - see above
            table = inner
        table[path[-1]] = value

    def remove(self, path: SettingPath) -> None:
        """Remove a setting that this source has."""
        table: object = self.tree
        for name in path[:-1]:
            table = table.get(name) if isinstance(table, dict) else None
        if isinstance(table, dict):
            table.pop(path[-1], None)

    def report(self, path: SettingPath, message: str) -> None:
        """Add an error about `path`."""
        self.errors.append(self.error(path, message))

    def error(self, path: SettingPath, message: str) -> SettingError:
        """Return an error about `path`, with its line or variable."""
        if self.place:
            line = next((self.lines[p] for p in _longest_first(path) if p in self.lines), 0)
            return SettingError(self.place, dotted(path), message, line)
        return SettingError(variable(self.model, path), dotted(path), message)


def unknown_setting(layer: Layer, path: SettingPath, *, table: bool) -> SettingError:
    """Return the error for an unknown name, with the most similar known names."""
    suggested = suggestions(layer.model, path, table=table)[:3]
    names = [dotted(name) if layer.place else variable(layer.model, name) for name in suggested]
    kind = "section" if table else "setting"
    if names:
        return layer.error(path, f"there is no such {kind}; did you mean {' or '.join(names)}?")
    siblings = _sibling_names(layer.model, path, table=table)
    return layer.error(path, f"there is no such {kind}; there are: {', '.join(siblings)}")


def _sibling_names(model: type[SettingsTree], path: SettingPath, *, table: bool) -> list[str]:
    names = known_sections(model) if table else known_settings(model)
    siblings = [dotted(name) for name in names if name[:-1] == path[:-1]]
    return siblings or [dotted(name) for name in known_sections(model) if len(name) == 1]


def setting_errors(error: ValidationError, layers: Iterable[Layer]) -> list[SettingError]:
    """Translate pydantic's errors. `layers` are in order of precedence."""
    ordered = list(layers)
    return [found for details in error.errors() for found in _translate(details, ordered)]


def error_paths(error: ValidationError, layers: Iterable[Layer]) -> dict[SettingPath, Layer]:
    """Return the wrong settings, each with the layer that sets it."""
    ordered = list(layers)
    found: dict[SettingPath, Layer] = {}
    for details in error.errors():
        place = tuple(str(part) for part in details["loc"])
        names = details["ctx"]["found"] if details["type"] == CONTRADICTION else [""]
        for name in names:
            path, layer = _locate((*place, *(part for part in name.split(".") if part)), ordered)
            if layer.get(path) is not None:
                found[path] = layer
    return found


def _translate(details: ErrorDetails, layers: list[Layer]) -> list[SettingError]:
    path, layer = _locate(tuple(str(part) for part in details["loc"]), layers)
    if details["type"] == CONTRADICTION:
        found: dict[str, str] = details["ctx"]["found"]
        return [
            _contradiction((*path, *name.split(".")), text, layers) for name, text in found.items()
        ]
    if details["type"] == "extra_forbidden":
        return [unknown_setting(layer, path, table=isinstance(details["input"], dict))]
    if details["type"] == "missing":
        # Only storage.directory can be missing: its default needs a home directory.
        message = "must be set: this user has no home directory to put it in"
        return [layer.error(("storage", "directory"), message)]
    return [layer.error(path, _wrong_value(layer.model, path, details))]


def _contradiction(path: SettingPath, text: str, layers: list[Layer]) -> SettingError:
    where, layer = _locate(path, layers)
    return layer.error(path if layer.get(path) is not None else where, text)


def _locate(path: SettingPath, layers: list[Layer]) -> tuple[SettingPath, Layer]:
    """Return the layer that sets `path`, and `path` without the list index of pydantic."""
    for part in _longest_first(path):
        for layer in layers:
            if layer.get(part) is not None:
                return part, layer
    return path, layers[-1]


def _longest_first(path: SettingPath) -> list[SettingPath]:
    return [path[:length] for length in range(len(path), 0, -1)]


def _wrong_value(model: type[SettingsTree], path: SettingPath, details: ErrorDetails) -> str:
    if details["type"] == "value_error" and not isinstance(details["input"], bool):
        message = str(details["ctx"]["error"])
    else:
        settings = known_settings(model)
        # The wrong value may be an item of a table.
        known = next((settings[part] for part in _longest_first(path) if part in settings), None)
        message = f"expected {expectation(known) if known else f'a section [{dotted(path)}]'}"
    return f"{message}; found {_format_value(model, path, details['input'])}"


def expectation(setting: FieldInfo) -> str:
    """Return a description of the expected value, such as `a whole number from 0 to 65535`."""
    if isinstance(setting.annotation, type) and issubclass(setting.annotation, StrEnum):
        return "one of " + ", ".join(f'"{choice}"' for choice in setting.annotation)
    text = [item.text for item in setting.metadata if isinstance(item, Description)][-1]
    minimum = [item.ge for item in setting.metadata if isinstance(item, Ge)]
    maximum = [item.le for item in setting.metadata if isinstance(item, Le)]
    return f"{text} from {minimum[0]} to {maximum[0]}" if minimum and maximum else text


def _format_value(model: type[SettingsTree], path: SettingPath, value: object) -> str:
    """Format a value for a message; a possible secret is never shown."""
    if any(_SECRET.search(part) for part in path):
        return "a value that is not shown"
    if isinstance(value, dict):
        return "a table"
    if path in known_sections(model):
        return "a single value"
    text = _USER_IN_URL.sub("//...@", json.dumps(value, default=str))
    return text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "..."

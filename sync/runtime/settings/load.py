"""Loads the settings. Precedence: environment, then the TOML file, then the defaults."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError
from pydantic_settings import InitSettingsSource

from sync.runtime.settings.names import (
    MESSAGES,
    canonical,
    dotted,
    known_sections,
    known_settings,
    value_of,
)
from sync.runtime.settings.paths import STATE_VARIABLES, place_files, state_directory
from sync.runtime.settings.schema import SettingsTree
from sync.runtime.settings.setting_errors import (
    ConfigurationError,
    Layer,
    SettingError,
    error_paths,
    setting_errors,
    unknown_setting,
)
from sync.runtime.settings.toml_lines import SettingPath, find_lines
from sync.runtime.settings.types import is_list, is_table

_MAX_PASSES = 10
_WHERE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")
Tree = TypeVar("Tree", bound=SettingsTree)


def load(
    model: type[Tree], path: Path | None, environ: Mapping[str, str], text: str | None = None
) -> Tree:
    """Return the settings from `environ` and the file at `path` (None: no file).

    `text` is used instead of the file's, as if it stood there. A variable
    `PROGRAM__SECTION__KEY` overrides the file. A relative path in the file is relative to the
    file's directory, one in a variable to the current directory. Raises
    `ConfigurationError` with all errors found. Changes nothing on the disk.
    """
    settings, errors = examine(model, path, environ, text)
    if errors or settings is None:
        raise ConfigurationError(errors)
    return settings


def examine(
    model: type[Tree], path: Path | None, environ: Mapping[str, str], text: str | None = None
) -> tuple[Tree | None, list[SettingError]]:
    """Return the settings as `load` does, and all errors.

    Wrong settings have their defaults in it, so that rules on several settings can be checked as
    well; None if even these are not valid. Raises `ConfigurationError` if the file is not TOML.
    """
    layers = [
        _read_environment(model, environ),
        _read_file(model, path, environ, text),
        _defaults(model, environ),
    ]
    errors = [error for layer in layers for error in layer.errors]
    removed: list[str] = []
    # Contradictions are found only among valid settings, so wrong ones are removed.
    for _ in range(_MAX_PASSES):
        try:
            return _build(model, layers), errors
        except ValidationError as error:
            found = setting_errors(error, layers)
            # A message that names a removed setting is about its absence.
            errors += [one for one in found if not any(name in one.message for name in removed)]
            paths = error_paths(error, layers)
            if not paths:
                break
            removed += [dotted(path) for path in paths]
            for path_, layer in paths.items():
                layer.remove(path_)
    return None, errors


def _build(model: type[Tree], layers: list[Layer]) -> Tree:
    sources = tuple(InitSettingsSource(model, layer.tree) for layer in layers)
    return model(_build_sources=(sources, {}))


def _defaults(model: type[SettingsTree], environ: Mapping[str, str]) -> Layer:
    try:
        directory = state_directory(model.program_name, environ)
    except RuntimeError:
        # No home directory: an error only if storage.directory is not set either.
        return Layer(model, {"storage": {}}, "default")
    return Layer(model, {"storage": {"directory": directory}}, "default")


def changed_settings(settings: SettingsTree, environ: Mapping[str, str]) -> dict[str, object]:
    """Return the settings, by dotted name, that differ from the defaults of this machine."""
    plain = {name: environ[name] for name in STATE_VARIABLES if name in environ}
    defaults = load(type(settings), None, plain)
    values = {path: value_of(settings, path) for path in known_settings(type(settings))}
    return {dotted(p): v for p, v in values.items() if v != value_of(defaults, p)}


def _read_file(
    model: type[SettingsTree], path: Path | None, environ: Mapping[str, str], text: str | None
) -> Layer:
    """Return the settings in `text` or the file at `path`; an empty layer if `path` is None.

    Raises `ConfigurationError` if the file cannot be read or is not TOML: then there are no
    settings to check.
    """
    if path is None:
        return Layer(model, {}, "default")
    text = read_text(path) if text is None else text
    tree = _parse(path, text)
    lines = {canonical(name): line for name, line in reversed(find_lines(text).items())}
    layer = Layer(model, tree, str(path), lines)
    _spell_locales(layer)
    place_files(layer, path.absolute().parent, environ)
    return layer


def read_text(path: Path) -> str:
    """Return the text of a configuration file. Raises `ConfigurationError`."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, f"the file cannot be read ({error.strerror})") from None
    try:
        # Some editors write a byte order mark, and TOML does not allow one.
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _unreadable(path, "this is not UTF-8 text", line) from None


def _parse(path: Path, text: str) -> dict[str, object]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = _WHERE.search(str(error))
        line = int(found[1]) if found and found[1] else text.count("\n") + 1
        raise _unreadable(path, f"not TOML: {_WHERE.sub('', str(error))}", line) from None
    except RecursionError:
        raise _unreadable(path, "not a configuration: tables are nested too deeply") from None


def _unreadable(path: Path, message: str, line: int = 0) -> ConfigurationError:
    return ConfigurationError([SettingError(str(path), "", message, line)])


def _spell_locales(layer: Layer) -> None:
    """Replace the locales in `program.messages` by their canonical spelling."""
    messages = layer.get(MESSAGES)
    if not isinstance(messages, dict):
        return
    layer.set(MESSAGES, {})
    for name, value in messages.items():
        path = canonical((*MESSAGES, name))
        if layer.get(path) is not None:
            layer.report(path, "this locale is set twice, in different spellings")
        layer.set(path, value)


def _read_environment(model: type[SettingsTree], environ: Mapping[str, str]) -> Layer:
    """Return the settings from the variables `PROGRAM__SECTION__KEY` in `environ`.

    Lists, and tables of `name=value`, are comma-separated. Names are not case-sensitive.
    """
    layer = Layer(model, {}, "")
    prefix = model.environment_prefix()
    for name in sorted(environ):
        if name.upper().startswith(prefix):
            path = canonical(tuple(name[len(prefix) :].lower().split("__")))
            if path in known_settings(model):
                layer.set(path, _value(model, path, environ[name]))
            elif path in known_sections(model):
                layer.report(path, "this is a section; a variable sets one setting in it")
            else:
                layer.errors.append(unknown_setting(layer, path, table=False))
    place_files(layer, Path(), environ)
    return layer


def _value(model: type[SettingsTree], path: SettingPath, text: str) -> object:
    field = known_settings(model)[path]
    if not is_list(field) and not is_table(field):
        return text
    items = [item.strip() for item in text.split(",") if item.strip()]
    if is_list(field):
        return items
    pairs = [item.partition("=") for item in items]
    return {name: value for name, _, value in pairs} if all(p[1] for p in pairs) else text

"""Loads the settings. Precedence: environment, then the TOML file, then the defaults."""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError
from pydantic_settings import InitSettingsSource

from sync.runtime.settings.document import read_document
from sync.runtime.settings.environment import read_variables
from sync.runtime.settings.names import dotted, known_settings, value_of
from sync.runtime.settings.paths import STATE_VARIABLES, state_directory
from sync.runtime.settings.schema import SettingsTree
from sync.runtime.settings.setting_errors import ConfigurationError, Layer, Mistake, mistakes_of

Tree = TypeVar("Tree", bound=SettingsTree)


def load(model: type[Tree], path: Path | None, environ: Mapping[str, str]) -> Tree:
    """Return the settings from `environ` and the file at `path` (None: no file).

    A variable `PROGRAM__SECTION__KEY` overrides the file. A relative path in the file is
    relative to the file's directory, one in a variable to the current directory. Raises
    `ConfigurationError` with all mistakes found. Changes nothing on the disk.
    """
    mistakes: list[Mistake] = []
    layers = [
        read_variables(model, environ, mistakes),
        read_document(model, path, environ, mistakes),
        _defaults(model, environ),
    ]
    try:
        settings = _build(model, layers)
    except ValidationError as error:
        raise ConfigurationError([*mistakes, *mistakes_of(error, layers)]) from None
    if mistakes:
        raise ConfigurationError(mistakes)
    return settings


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

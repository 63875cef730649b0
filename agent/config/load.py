"""Reading the configuration: defaults, then the TOML file, then the environment over both."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError
from pydantic_settings import InitSettingsSource

from agent.config.document import read_document
from agent.config.mistakes import ConfigurationError, Layer, Mistake, mistakes_of
from agent.config.names import dotted, known_settings, value_of
from agent.config.paths import STATE_VARIABLES, state_directory
from agent.config.settings import Settings
from agent.config.variables import read_variables


def load_settings(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """Return the settings of the file at `path` (None: no file) and of `environ`.

    A variable `LOYALTY_AGENT__SECTION__KEY` goes before the file. A relative path in the
    file starts at the file's directory, one in a variable at the current directory. Raises
    `ConfigurationError` with all mistakes found. Nothing on the disk is changed.
    """
    mistakes: list[Mistake] = []
    layers = [
        read_variables(environ, mistakes),
        read_document(path, environ, mistakes),
        _defaults(environ),
    ]
    try:
        settings = _build(layers)
    except ValidationError as error:
        raise ConfigurationError([*mistakes, *mistakes_of(error, layers)]) from None
    if mistakes:
        raise ConfigurationError(mistakes)
    return settings


def _build(layers: list[Layer]) -> Settings:
    sources = tuple(InitSettingsSource(Settings, layer.tree) for layer in layers)
    return Settings(_build_sources=(sources, {}))


def _defaults(environ: Mapping[str, str]) -> Layer:
    try:
        return Layer({"storage": {"directory": state_directory(environ)}}, "default")
    except RuntimeError:
        # No home directory; that matters only if nobody sets the directory either.
        return Layer({"storage": {}}, "default")


def changed_settings(settings: Settings, environ: Mapping[str, str]) -> dict[str, object]:
    """Return the settings, by dotted name, whose value is not the default on this machine."""
    plain = {name: environ[name] for name in STATE_VARIABLES if name in environ}
    defaults = load_settings(None, plain)
    values = {path: value_of(settings, path) for path in known_settings()}
    return {dotted(p): v for p, v in values.items() if v != value_of(defaults, p)}

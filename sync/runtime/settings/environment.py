"""Reads settings from environment variables, which override the configuration file."""

from collections.abc import Mapping
from pathlib import Path

from sync.runtime.settings.names import canonical, known_sections, known_settings
from sync.runtime.settings.paths import place_files
from sync.runtime.settings.schema import SettingsTree
from sync.runtime.settings.setting_errors import Layer, Mistake, unknown_setting
from sync.runtime.settings.toml_lines import SettingPath
from sync.runtime.settings.types import is_list


def read_variables(
    model: type[SettingsTree], environ: Mapping[str, str], mistakes: list[Mistake]
) -> Layer:
    """Return the settings from the variables `PROGRAM__SECTION__KEY` in `environ`.

    Lists are comma-separated. Names are not case-sensitive. A variable that matches no
    setting is appended to `mistakes`.
    """
    layer = Layer(model, {}, "")
    prefix = model.environment_prefix()
    for name in sorted(environ):
        if name.upper().startswith(prefix):
            path = canonical(tuple(name[len(prefix) :].lower().split("__")))
            if path in known_settings(model):
                _put(layer.tree, path, _value(model, path, environ[name]))
            else:
                mistakes.append(_unknown(layer, path))
    place_files(layer, Path(), environ, mistakes)
    return layer


def _unknown(layer: Layer, path: SettingPath) -> Mistake:
    if path in known_sections(layer.model):
        return layer.mistake(path, "this is a section; a variable sets one setting in it")
    return unknown_setting(layer, path, table=False)


def _value(model: type[SettingsTree], path: SettingPath, text: str) -> object:
    if is_list(known_settings(model)[path]):
        return [item.strip() for item in text.split(",") if item.strip()]
    return text


def _put(tree: dict[str, object], path: SettingPath, value: object) -> None:
    for name in path[:-1]:
        inner = tree.setdefault(name, {})
        # A known setting is never nested in another, so each parent is a table.
        assert isinstance(inner, dict)  # noqa: S101 - as the line above says
        tree = inner
    tree[path[-1]] = value

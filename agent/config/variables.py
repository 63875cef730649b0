"""Reading the environment variables that go before the configuration file."""

from collections.abc import Mapping
from pathlib import Path

from agent.config.kinds import is_list
from agent.config.lines import SettingPath
from agent.config.mistakes import Layer, Mistake, unknown_setting
from agent.config.names import ENVIRONMENT_PREFIX, canonical, known_sections, known_settings
from agent.config.paths import place_files


def read_variables(environ: Mapping[str, str], mistakes: list[Mistake]) -> Layer:
    """Return what the variables `LOYALTY_AGENT__SECTION__KEY` in `environ` say.

    A list is written with commas. A variable that names no setting is appended to
    `mistakes`. Letter case makes no difference in a name.
    """
    layer = Layer({}, "")
    for name in sorted(environ):
        if name.upper().startswith(ENVIRONMENT_PREFIX):
            path = canonical(tuple(name[len(ENVIRONMENT_PREFIX) :].lower().split("__")))
            if path in known_settings():
                _put(layer.tree, path, _value(path, environ[name]))
            else:
                mistakes.append(_unknown(layer, path))
    place_files(layer, Path(), environ, mistakes)
    return layer


def _unknown(layer: Layer, path: SettingPath) -> Mistake:
    if path in known_sections():
        return layer.mistake(path, "this is a section; a variable sets one setting in it")
    return unknown_setting(layer, path, table=False)


def _value(path: SettingPath, text: str) -> object:
    if is_list(known_settings()[path]):
        return [item.strip() for item in text.split(",") if item.strip()]
    return text


def _put(tree: dict[str, object], path: SettingPath, value: object) -> None:
    for name in path[:-1]:
        inner = tree.setdefault(name, {})
        # Only settings come here and none lies within another, so what is on the way is a table.
        assert isinstance(inner, dict)  # noqa: S101 - as the line above says
        tree = inner
    tree[path[-1]] = value

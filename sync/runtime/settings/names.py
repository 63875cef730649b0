"""Names of all settings: canonical spelling, and suggestions for unknown names."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from sync.protocol.program_terms import Locale
from sync.runtime.settings.schema import SettingsTree
from sync.runtime.settings.toml_lines import SettingPath

_MIN_SIMILARITY = 0.6  # below this, suggestions mislead more often than they help
_TIE_MARGIN = 0.05
MESSAGES = ("program", "messages")
_LOCALES = {locale.lower().replace("-", "_"): locale.value for locale in Locale}


@cache
def known_settings(tree: type[SettingsTree]) -> Mapping[SettingPath, FieldInfo]:
    """Return every setting of `tree`, without sections, in file order."""
    return {path: field for path, field in _walk(tree, ()) if not _is_section(field)}


@cache
def known_sections(tree: type[SettingsTree]) -> tuple[SettingPath, ...]:
    """Return the path of every section, nested ones included."""
    return tuple(path for path, field in _walk(tree, ()) if _is_section(field))


def _walk(model: type[BaseModel], within: SettingPath) -> Iterator[tuple[SettingPath, FieldInfo]]:
    for name, field in model.model_fields.items():
        yield (*within, name), field
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _walk(field.annotation, (*within, name))


def _is_section(field: FieldInfo) -> bool:
    return isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)


def canonical(path: SettingPath) -> SettingPath:
    """Return `path` with the locale in its canonical spelling (`fr-CA` becomes `fr_ca`).

    Case is ignored, and `-` equals `_`, because a variable name cannot contain `-`.
    """
    if path[:2] == MESSAGES and len(path) > len(MESSAGES):
        locale = path[2].lower().replace("-", "_")
        if locale in _LOCALES:
            return (*MESSAGES, locale, *path[3:])
    return path


def dotted(path: SettingPath) -> str:
    """Return the name to display, such as `program.messages.fr-CA.prompt`."""
    if path[:2] == MESSAGES and len(path) > len(MESSAGES):
        path = (*MESSAGES, _LOCALES.get(path[2], path[2]), *path[3:])
    return ".".join(part if part.isprintable() else ascii(part) for part in path)


def variable(tree: type[SettingsTree], path: SettingPath) -> str:
    """Return the name of the environment variable that overrides the setting."""
    return tree.environment_prefix() + "__".join(path).upper()


def suggestions(
    tree: type[SettingsTree], path: SettingPath, *, table: bool
) -> tuple[SettingPath, ...]:
    """Return the known settings (sections if `table`) most similar to `path`.

    Prefers the same name in another section, then a similar name in the same section, then a
    similar name anywhere. Empty if there is none.
    """
    names = known_sections(tree) if table else tuple(known_settings(tree))
    elsewhere = [name for name in names if path and name[-1] == path[-1]]
    if elsewhere:
        return _in_closest_section(path, elsewhere)
    siblings = [name for name in names if name[:-1] == path[:-1]]
    return _similar(path, siblings) or _similar(path, names)


def _similar(path: SettingPath, names: Iterable[SettingPath]) -> tuple[SettingPath, ...]:
    wanted = path[-1].lower() if path else ""
    scores = {name: _similarity(name[-1], wanted) for name in names}
    best = max(scores.values(), default=0.0)
    if best < _MIN_SIMILARITY:
        return ()
    ties = [name for name, score in scores.items() if score >= best - _TIE_MARGIN]
    return _in_closest_section(path, ties)


def _in_closest_section(path: SettingPath, names: list[SettingPath]) -> tuple[SettingPath, ...]:
    """Return the names whose section is most similar to that of `path`; all of them on a tie."""
    section = ".".join(path[:-1])
    scores = {name: _similarity(".".join(name[:-1]), section) for name in names}
    best = max(scores.values(), default=0.0)
    return tuple(name for name, score in scores.items() if score == best)


def _similarity(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one, other).ratio()


def value_of(settings: SettingsTree, path: SettingPath) -> object:
    """Return the value of one setting."""
    value: object = settings
    for name in path:
        value = getattr(value, name)
    return value

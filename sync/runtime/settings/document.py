"""Reads the configuration file: TOML, with the line number of each setting."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

from sync.runtime.settings.names import MESSAGES, canonical
from sync.runtime.settings.paths import place_files
from sync.runtime.settings.schema import SettingsTree
from sync.runtime.settings.setting_errors import ConfigurationError, Layer, Mistake
from sync.runtime.settings.toml_lines import find_lines

_WHERE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


def read_document(
    model: type[SettingsTree],
    path: Path | None,
    environ: Mapping[str, str],
    mistakes: list[Mistake],
) -> Layer:
    """Return the settings in the file at `path` as a layer; an empty layer if `path` is None.

    Appends mistakes to `mistakes`. Raises `ConfigurationError` if the file cannot be read or
    is not TOML: then there are no settings to check.
    """
    if path is None:
        return Layer(model, {}, "default")
    text = _read_text(path)
    tree = _parse(path, text)
    lines = {canonical(name): line for name, line in reversed(find_lines(text).items())}
    layer = Layer(model, tree, str(path), lines)
    _spell_locales(layer, mistakes)
    place_files(layer, path.absolute().parent, environ, mistakes)
    return layer


def _read_text(path: Path) -> str:
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
        raise _unreadable(path, "not a configuration: tables within tables without end") from None


def _unreadable(path: Path, message: str, line: int = 0) -> ConfigurationError:
    return ConfigurationError([Mistake(str(path), "", message, line)])


def _spell_locales(layer: Layer, mistakes: list[Mistake]) -> None:
    program = layer.tree.get("program")
    messages = program.get("messages") if isinstance(program, dict) else None
    if not isinstance(program, dict) or not isinstance(messages, dict):
        return
    spelled: dict[str, object] = {}
    for name, value in messages.items():
        path = canonical((*MESSAGES, name))
        if path[-1] in spelled:
            mistakes.append(layer.mistake(path, "this locale is given twice, spelled differently"))
        spelled[path[-1]] = value
    program["messages"] = spelled

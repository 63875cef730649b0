"""Settings for the bundle, and the secrets in the files that they name."""

from collections.abc import Iterator
from pathlib import Path

from agent.config import Settings
from agent.support_bundle.redact import Json
from sync.runtime.settings.names import dotted, known_settings, value_of

# Customer-facing texts: arbitrary content, useless for diagnosis.
_EXCLUDED = ("program", "messages")
_MAX_SECRET_BYTES = 65_536


def settings_without_secrets(settings: Settings) -> dict[str, Json]:
    """Return all settings by dotted name; secrets appear only as file paths."""
    return {
        dotted(path): _plain(value_of(settings, path))
        for path in known_settings(type(settings))
        if path[: len(_EXCLUDED)] != _EXCLUDED
    }


def read_secrets(settings: Settings) -> Iterator[str]:
    """Yield the content of each readable file that the settings name."""
    files = [value_of(settings, path) for path in known_settings(type(settings))]
    for file in [*files, settings.storage.encryption_key_path]:
        if isinstance(file, Path) and file != settings.storage.directory:
            yield from _content(file)


def _content(file: Path) -> Iterator[str]:
    try:
        with file.open("rb") as secret:
            content = secret.read(_MAX_SECRET_BYTES)
    except (OSError, ValueError):
        return
    yield content.decode("utf-8", "replace")
    yield content.decode("latin-1")
    yield content.hex()


def _plain(value: object) -> Json:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple):
        return [str(item) for item in value]
    return str(value)

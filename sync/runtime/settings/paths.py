"""Resolves paths in the settings: state directory, credentials, relative paths."""

import os.path
from collections.abc import Mapping
from pathlib import Path

from sync.runtime.settings.names import known_settings
from sync.runtime.settings.setting_errors import Layer
from sync.runtime.settings.toml_lines import SettingPath
from sync.runtime.settings.types import is_path

STATE_VARIABLES = ("STATE_DIRECTORY", "XDG_STATE_HOME", "HOME")
CREDENTIAL = "credential:"


def state_directory(program_name: str, environ: Mapping[str, str]) -> Path:
    """Return the default storage directory of a program.

    `$STATE_DIRECTORY` set by systemd (the first entry if there are several), else the XDG
    state directory. Raises `RuntimeError` if the user has no home directory.
    """
    given = environ.get("STATE_DIRECTORY", "").split(":")[0]
    if given:
        return Path(given)
    state_home = Path(environ.get("XDG_STATE_HOME", ""))
    # The XDG specification: ignore a relative path.
    if not state_home.is_absolute():
        home = environ.get("HOME")
        state_home = (Path(home) if home else Path.home()) / ".local" / "state"
    return state_home / program_name


def credentials_directory(
    program_name: str, environ: Mapping[str, str], root: Path = Path("/")
) -> Path | None:
    """Return the directory of a program's credentials; None if there is none.

    `$CREDENTIALS_DIRECTORY` in a service. A command run beside the installed service uses the
    service's credentials (`/run/credentials/UNIT`, systemd.exec(5)) or, while the service is
    stopped, the files that its next start will load. So does a reload under a systemd before 254,
    which names the directory to the command and hides it.
    """
    given = environ.get("CREDENTIALS_DIRECTORY")
    if given and os.path.isdir(given):  # noqa: PTH112 - Path.is_dir raises there
        return Path(given)
    places = (
        root / f"run/credentials/{program_name}.service",
        root / f"etc/{program_name}/credentials",
    )
    # A directory that this user may not list counts as absent.
    found = next((place for place in places if os.path.isdir(place)), None)  # noqa: PTH112 - Path.is_dir raises there
    return found or (Path(given) if given else None)


def place_files(layer: Layer, base: Path, environ: Mapping[str, str]) -> None:
    """Resolve the paths in `layer`: relative to `base`, or `credential:NAME`.

    `credential:NAME` is a file in `credentials_directory`. Values that are not strings are
    left to the type validation.
    """
    for path, field in known_settings(layer.model).items():
        text = layer.get(path)
        if not is_path(field) or not isinstance(text, str) or not text:
            continue
        if text.startswith(CREDENTIAL):
            _place_credential(layer, path, text.removeprefix(CREDENTIAL), environ)
        elif not text.startswith("~"):
            layer.set(path, base / text)


def _place_credential(
    layer: Layer, path: SettingPath, name: str, environ: Mapping[str, str]
) -> None:
    directory = credentials_directory(layer.model.program_name, environ)
    if directory is None:
        layer.report(
            path,
            f'"{CREDENTIAL}..." needs $CREDENTIALS_DIRECTORY, which systemd sets for a service'
            " with LoadCredential=; set a file instead, or start the program as that service",
        )
    elif not name or "/" in name or name in {".", ".."}:
        layer.report(path, f'expected "{CREDENTIAL}" and the name of one credential')
    else:
        layer.set(path, directory / name)

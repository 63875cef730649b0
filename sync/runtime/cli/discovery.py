"""Finds the configuration that a command uses.

In this order: the file given with `--config`; the installed service's; that of the service that
runs on the program's port; none, with the state in the user's home directory. Without this order a
command beside the service would report on an empty directory of its own that all is well.
"""

import os
import pwd
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from pathlib import Path

from sync.runtime.files.private_files import user_name
from sync.runtime.settings.paths import STATE_VARIABLES
from sync.runtime.settings.setting_errors import ConfigurationError, SettingError

# Replaced by tests.
ROOT, PROC = Path("/"), Path("/proc")
_STATE_SETTINGS = ("STORAGE__DIRECTORY", "DATABASE__URL")


class Origin(Enum):
    """How a configuration was found."""

    GIVEN = "given with --config"
    INSTALLED = "of the installed service"
    RUNNING = "of the running service"
    OWN = "of this user"


@dataclass(frozen=True, slots=True)
class Configuration:
    """The configuration of a command: its file (None: defaults alone) and its variables.

    `names_state`: it tells where the state is, so that a command may create it there.
    """

    file: Path | None
    origin: Origin
    environ: Mapping[str, str]
    names_state: bool = True
    process: int = 0

    def __str__(self) -> str:
        """Return the file and, if the user could not know it, its origin."""
        file = str(self.file or "none, only defaults")
        of_process = f" (of the running process {self.process})"
        return file + (of_process if self.origin is Origin.RUNNING else "")


@dataclass(frozen=True, slots=True)
class ServiceProcess:
    """Recognises the process of a service by its command line."""

    program_name: str
    module: str
    command: str

    def is_started_by(self, arguments: Sequence[str]) -> bool:
        """Return whether these arguments start the service."""
        names = {Path(argument).name for argument in arguments[:2]}
        by_module = ("-m", self.module) in pairwise(arguments)
        return (self.program_name in names or by_module) and self.command in arguments


def installed_file(program_name: str) -> Path:
    """Return the path of the installed service's configuration."""
    return ROOT / "etc" / program_name / "config.toml"


def is_installed(program_name: str, file: Path) -> bool:
    """Return whether `file` is the installed service's configuration, or a link to it."""
    try:
        return file.samefile(installed_file(program_name))
    except OSError:
        return False


def service_state(program_name: str) -> Path:
    """Return the state directory of the installed service."""
    return ROOT / "var" / "lib" / program_name


def given_configuration(program_name: str, file: Path, environ: Mapping[str, str]) -> Configuration:
    """Return the configuration in `file`."""
    is_its = is_installed(program_name, file)
    variables = _of_installed_service(program_name, environ) if is_its else environ
    return Configuration(file, Origin.GIVEN, variables)


def find_installed(program_name: str, environ: Mapping[str, str]) -> Configuration | None:
    """Return the configuration of the installed service, if there is one.

    Raises `ConfigurationError` if this user may not read it: another configuration would answer
    for another state.
    """
    file = installed_file(program_name)
    try:
        file.open("rb").close()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError:
        message = (
            "this is the installed service's configuration, and this user may not read it. Run"
            f' the command as root or as the service: "runuser -u {program_name} -- {program_name}'
            ' ..."; or name another file with --config'
        )
        raise ConfigurationError([SettingError(str(file), "", message)]) from None
    except OSError:
        pass  # the loader says why
    variables = _of_installed_service(program_name, environ)
    return Configuration(file, Origin.INSTALLED, variables, names_state=False)


def find_running(
    service: ServiceProcess, address: tuple[str, int], environ: Mapping[str, str]
) -> Configuration | None:
    """Return the configuration of the process of `service` that listens on `address`, if any.

    Only processes of this user are visible, to root all. Raises `ConfigurationError` for another
    user's: its settings would tell root which files to read, and where to send them.
    """
    # Imported here: most commands find a file, and this loads asyncio.
    from sync.runtime.network.listeners import find_listeners  # noqa: PLC0415 - see above

    host, port = address
    for process in (port and find_listeners(host, port, PROC)) or {}:
        place = PROC / str(process)
        try:
            arguments = _split(place / "cmdline")
            variables = dict(
                pair.split("=", 1) for pair in _split(place / "environ") if "=" in pair
            )
            directory = (place / "cwd").readlink()
            users = _users_of(place)
        except OSError:
            continue  # it has ended, or belongs to another user
        if service.is_started_by(arguments):
            if not users <= _trusted_users(service.program_name):
                raise _of_another_user(service, process, max(users))
            file = _config_option(arguments)
            return Configuration(
                directory / file if file else None,
                Origin.RUNNING,
                _merged(service.program_name, variables, environ),
                process=process,
            )
    return None


def own_configuration(program_name: str, environ: Mapping[str, str]) -> Configuration:
    """Return a configuration without a file, for the state of this user."""
    return Configuration(None, Origin.OWN, environ, names_state=names_state(program_name, environ))


def names_state(program_name: str, environ: Mapping[str, str]) -> bool:
    """Return whether a variable tells where the state is."""
    prefix = _prefix(program_name)
    names = {prefix + setting for setting in _STATE_SETTINGS}
    return "STATE_DIRECTORY" in environ or any(name.upper() in names for name in environ)


def _of_installed_service(program_name: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Return `environ` with the state directory that systemd sets for the service."""
    return {"STATE_DIRECTORY": str(service_state(program_name)), **environ}


def _merged(
    program_name: str, running: Mapping[str, str], environ: Mapping[str, str]
) -> dict[str, str]:
    """Return `environ` with the settings and state of the running process, ours first."""
    prefix = _prefix(program_name)
    theirs = {name: value for name, value in running.items() if name.upper().startswith(prefix)}
    without = {name: value for name, value in environ.items() if name not in STATE_VARIABLES}
    state = {name: running[name] for name in STATE_VARIABLES if name in running}
    return {**theirs, **without, **state}


def _users_of(process: Path) -> set[int]:
    """Return all user ids of a process: a setuid program also has those of its caller."""
    lines = (process / "status").read_text("ascii", "replace").splitlines()
    return {int(uid) for line in lines if line.startswith("Uid:") for uid in line.split()[1:]}


def _trusted_users(program_name: str) -> set[int]:
    trusted = {0, os.geteuid()}
    with suppress(KeyError):
        trusted.add(pwd.getpwnam(program_name).pw_uid)
    return trusted


def _of_another_user(service: ServiceProcess, process: int, uid: int) -> ConfigurationError:
    name, user = service.program_name, user_name(uid)
    message = (
        f"{user} runs it, and this user does not use another user's configuration. Run the command"
        f' as that user: "runuser -u {user} -- {name} ..."; or name a file with --config'
    )
    return ConfigurationError([SettingError(f"process {process} of {name}", "", message)])


def _config_option(arguments: Sequence[str]) -> str | None:
    file = None
    for option, value in zip(arguments, [*arguments[1:], ""], strict=True):
        if option == "--config":
            file = value
        elif option.startswith("--config="):
            file = option.partition("=")[2]
    return file


def _split(file: Path) -> list[str]:
    return os.fsdecode(file.read_bytes()).rstrip("\0").split("\0")


def _prefix(program_name: str) -> str:
    return program_name.upper().replace("-", "_") + "__"

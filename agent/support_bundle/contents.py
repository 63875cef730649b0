"""Assemble the files of a bundle from their collectors and redact all of them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from agent.config import Settings
from agent.doctor.check import Check
from agent.doctor.lock_holder import find_owner
from agent.doctor.systemd_units import Run
from agent.support_bundle.database import describe_database
from agent.support_bundle.journal import last_lines
from agent.support_bundle.machine import describe_files, describe_machine, describe_packages
from agent.support_bundle.secrecy import Json, Secrecy
from agent.support_bundle.settings import secrets_in, shown_settings
from agent.support_bundle.status import known_status

_ABOUT = """What the loyalty agent's support needs to know of a machine.

machine.json    the agent's version, and those of all that it stands on
packages.json   the installed packages
settings.json   the configuration; of secrets only the files that hold them
status.json     what the running agent said of itself
doctor.json     what loyalty-agent doctor found
database.json   schema, epochs, row counts, dead letters without anybody's words
files.json      the files in the storage directory
journal.txt     the last lines of the log, where journald keeps it

No e-mail address, no token, no key, and nothing that a till sent.
"""


@dataclass(frozen=True, slots=True)
class Known:
    """Inputs from outside: findings of doctor, and the status or the reason why it is missing."""

    checks: Sequence[Check]
    status: Mapping[str, object]
    unreached: str = ""


@dataclass(frozen=True, slots=True)
class Moment:
    """Time of the bundle."""

    now: datetime
    time_zone: str


def contents(
    settings: Settings, known: Known, moment: Moment, *, version: str, run: Run
) -> dict[str, bytes]:
    """Return the files of a bundle by name."""
    secrecy = Secrecy.of(secrets_in(settings))
    directory = settings.storage.directory
    is_owned = find_owner(directory) is not None
    parts: dict[str, Json] = {
        "machine.json": describe_machine(version, moment.now, moment.time_zone),
        "packages.json": describe_packages(),
        "settings.json": {**shown_settings(settings)},
        "status.json": _status(known),
        "doctor.json": [{**asdict(check)} for check in known.checks],
        "database.json": describe_database(directory, is_owned=is_owned),
        "files.json": describe_files(directory),
    }
    return {
        "README.txt": _ABOUT.encode(),
        **{name: _json(secrecy.clean_all(part)) for name, part in parts.items()},
        "journal.txt": secrecy.clean(last_lines(run)).encode("utf-8", "replace"),
    }


def _status(known: Known) -> Json:
    if known.unreached:
        return {"unreached": known.unreached}
    return known_status(known.status)


def _json(value: Json) -> bytes:
    text = json.dumps(value, ensure_ascii=False, indent=2)
    return f"{text}\n".encode("utf-8", "replace")

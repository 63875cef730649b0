"""The files of a support bundle, each redacted, and the archive that holds them."""

import gzip
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from agent.api.delivery import SyncReport
from agent.api.status.report import CentralReport, StatusReport, StorageReport
from agent.config import Settings
from agent.support_bundle.database_stats import describe_database
from agent.support_bundle.machine import describe_files, describe_machine, describe_packages
from agent.support_bundle.redact import Json, Redactor
from agent.support_bundle.settings_and_secrets import read_secrets, settings_without_secrets
from sync.runtime.checks.check import Check
from sync.runtime.checks.units import Run
from sync.runtime.files.atomic_file import atomic_file

_README = """Diagnostics of a loyalty agent for support.

machine.json    versions of the agent, Python, SQLite and the operating system
packages.json   installed packages
settings.json   the configuration; secrets appear only as file names
status.json     status of the running agent
doctor.json     findings of loyalty-agent doctor
database.json   schema, epochs, row counts, dead letters without content
files.json      files in the storage directory
journal.txt     recent lines of the log, if journald keeps it

This archive contains no e-mail addresses, tokens, keys or content sent by a till.
"""
_FOLDER = "loyalty-agent-support"
_JOURNAL_LINES = 2_000
_MAX_JOURNAL_BYTES = 2 * 1024 * 1024
_JOURNAL_COMMAND = (
    *("journalctl", "--unit=loyalty-agent.service", f"--lines={_JOURNAL_LINES}"),
    *("--no-pager", "--quiet", "--no-hostname", "--output=short-iso-precise"),
)
# The only members of a status with members of their own.
_STATUS_SECTIONS = {
    "storage": StorageReport.__annotations__,
    "central": CentralReport.__annotations__,
    "sync": SyncReport.__annotations__,
}


def bundle_files(
    settings: Settings,
    checks: Sequence[Check],
    status: Mapping[str, object] | str,
    now: datetime,
    run: Run,
) -> dict[str, bytes]:
    """Return the redacted files of a bundle by name.

    `checks` are the findings of doctor; `status` is that of the agent, or why it is missing.
    """
    redactor = Redactor(read_secrets(settings))
    directory = settings.storage.directory
    documents: dict[str, Json] = {
        "machine.json": describe_machine(now),
        "packages.json": describe_packages(),
        "settings.json": {**settings_without_secrets(settings)},
        "status.json": _status(status),
        "doctor.json": [{**asdict(check)} for check in checks],
        "database.json": describe_database(directory),
        "files.json": describe_files(directory),
    }
    return {
        "README.txt": _README.encode(),
        **{name: _encode(redactor.redact_all(value)) for name, value in documents.items()},
        "journal.txt": redactor.redact(_journal(run)).encode("utf-8", "replace"),
    }


def write_bundle(file: Path, files: Mapping[str, bytes], *, at_seconds: int) -> None:
    """Write `files` to `file`, a tar.gz, mode 0600; durable on return. Raises `OSError`.

    An existing file is replaced. `at_seconds`, a Unix time, becomes the modification time of
    every member. The empty name in the gzip header replaces the temporary file's name.
    """
    with (
        atomic_file(file) as target,
        gzip.GzipFile(filename="", mode="wb", fileobj=target, mtime=at_seconds) as packed,
        tarfile.open(fileobj=packed, mode="w") as archive,
    ):
        for name, content in files.items():
            member = tarfile.TarInfo(f"{_FOLDER}/{name}")
            member.size, member.mtime, member.mode = len(content), at_seconds, 0o600
            archive.addfile(member, io.BytesIO(content))


def _status(status: Mapping[str, object] | str) -> Json:
    """Return the known members of the status: another program may answer on the port."""
    if isinstance(status, str):
        return {"unreached": status}
    return {name: _plain(status.get(name), within=name) for name in StatusReport.__annotations__}


def _plain(value: object, within: str = "") -> Json:
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list):
        return [item for item in value if isinstance(item, str)]
    if within in _STATUS_SECTIONS and isinstance(value, Mapping):
        return {name: _plain(value.get(name)) for name in _STATUS_SECTIONS[within]}
    return None


def _journal(run: Run) -> str:
    """Return the last complete lines of the log, oldest first; empty if there are none."""
    text = run(_JOURNAL_COMMAND) or ""
    if len(text) <= _MAX_JOURNAL_BYTES:
        return text
    # Drop the first line, which may be partial: redaction cannot recognize half an address.
    return text[-_MAX_JOURNAL_BYTES:].partition("\n")[2]


def _encode(value: Json) -> bytes:
    text = json.dumps(value, ensure_ascii=False, indent=2)
    return f"{text}\n".encode("utf-8", "replace")

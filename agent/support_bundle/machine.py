"""Description of the machine: system, versions, packages, files in the storage directory."""

import importlib.metadata
import platform
import re
import sqlite3
import ssl
import stat
import sys
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from agent.store.db.connect import DATABASE_FILE
from agent.store.files.disk_space import BALLAST_FILE
from agent.store.files.high_water_mark import MARK_FILE
from agent.store.files.lock import LOCK_FILE
from agent.store.files.quarantine import QUARANTINE
from agent.support_bundle.redact import Json
from sync.protocol.rfc3339 import to_rfc3339, us_to_rfc3339

# Files created by the agent. Others are only counted: their names may hold personal data.
_OURS = re.compile(
    "|".join(
        (
            rf"{re.escape(DATABASE_FILE)}(-wal|-shm|-journal|\.before-[0-9]{{4}})?",
            *map(re.escape, (LOCK_FILE, MARK_FILE, BALLAST_FILE, "encryption.key")),
        )
    )
)
_QUARANTINE_NAME = re.compile(r"[0-9]{8}T[0-9]{6}Z(-[0-9]+)?")


def describe_machine(version: str, now: datetime) -> dict[str, Json]:
    """Return the versions of agent, Python, SQLite, OpenSSL and operating system."""
    return {
        "agent": version,
        "writtenAt": to_rfc3339(now),
        "timeZone": now.astimezone().strftime("%Z %z"),
        "python": sys.version,
        "sqlite": sqlite3.sqlite_version,
        "openssl": ssl.OPENSSL_VERSION,
        "system": platform.platform(),
        "distribution": _distribution(),
        "processor": platform.machine(),
    }


def describe_packages() -> list[Json]:
    """Return the installed packages as `name==version`, sorted."""
    found = {
        f"{package.metadata['Name']}=={package.version}"
        for package in importlib.metadata.distributions()
    }
    return [*sorted(found, key=str.lower)]


def describe_files(directory: Path) -> dict[str, Json]:
    """Return names, sizes and permissions of the agent's files, and the number of others."""
    try:
        entries = sorted(directory.iterdir())
        aside = sorted((directory / QUARANTINE).iterdir()) if QUARANTINE in _names(entries) else []
        ours = [entry for entry in entries if _OURS.fullmatch(entry.name)]
        return {
            "files": [_described(entry) for entry in ours],
            "setAside": [entry.name for entry in aside if _QUARANTINE_NAME.fullmatch(entry.name)],
            "others": len([name for name in _names(entries) if name != QUARANTINE]) - len(ours),
        }
    except OSError as error:
        return {"notKnown": error.strerror or type(error).__name__}


def _described(file: Path) -> Json:
    status = file.stat()
    return {
        "name": file.name,
        "bytes": status.st_size,
        "mode": stat.filemode(status.st_mode),
        "user": status.st_uid,
        "changedAt": us_to_rfc3339(status.st_mtime_ns // 1000),
    }


def _names(entries: Iterable[Path]) -> set[str]:
    return {entry.name for entry in entries}


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        return ""

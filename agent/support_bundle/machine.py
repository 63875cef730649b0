"""Description of the machine: system, versions, packages, files in the storage directory."""

import importlib.metadata
import platform
import re
import sqlite3
import ssl
import stat
import sys
from datetime import datetime
from pathlib import Path

from agent.store.db.connect import DATABASE_FILE
from agent.store.files.disk_space import BALLAST_FILE
from agent.store.files.high_water_mark import MARK_FILE
from agent.store.files.lock import LOCK_FILE
from agent.store.files.quarantine import QUARANTINE
from agent.support_bundle.redact import Json
from sync.protocol.rfc3339 import to_rfc3339, us_to_rfc3339
from sync.runtime.identity import installed_version

# Files created by the agent. Others are only counted: their names may hold personal data.
_OTHERS = "|".join(map(re.escape, (LOCK_FILE, MARK_FILE, BALLAST_FILE, "encryption.key")))
_OURS = re.compile(
    rf"{re.escape(DATABASE_FILE)}(-wal|-shm|-journal|\.before-[0-9]{{4}})?|{_OTHERS}"
)
_QUARANTINE_NAME = re.compile(r"[0-9]{8}T[0-9]{6}Z(-[0-9]+)?")


def describe_machine(now: datetime) -> dict[str, Json]:
    """Return the versions of agent, Python, SQLite, OpenSSL and operating system."""
    return {
        "agent": installed_version(),
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
    packages = importlib.metadata.distributions()
    found = {f"{package.metadata['Name']}=={package.version}" for package in packages}
    return [*sorted(found, key=str.lower)]


def describe_files(directory: Path) -> dict[str, Json]:
    """Return names, sizes and permissions of the agent's files, and the number of others."""
    try:
        entries = {entry.name: entry for entry in sorted(directory.iterdir())}
        aside = entries.pop(QUARANTINE, None)
        kept = sorted(entry.name for entry in aside.iterdir()) if aside else []
        ours = [entry for name, entry in entries.items() if _OURS.fullmatch(name)]
        return {
            "files": [_described(entry) for entry in ours],
            "setAside": [name for name in kept if _QUARANTINE_NAME.fullmatch(name)],
            "others": len(entries) - len(ours),
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


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        return ""

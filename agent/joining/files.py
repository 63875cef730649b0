"""Files of a join: token, authority, configuration, and the record of an interrupted join.

Each is written atomically and synced.
"""

import fcntl
import os
import pwd
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec

from sync.protocol.agent_token import SECRET_BYTES, hash_token, make_token
from sync.protocol.join_code import JoinCode
from sync.runtime.files.atomic_file import atomic_file, make_directory

_MAX_BYTES = 4096
_ROOT, _PUBLIC = 0, 0o644


class JoinInProgressError(Exception):
    """Another process joins this machine."""


class ConfigurationChangedError(Exception):
    """The configuration file was changed while the machine joined."""


class JoinRecord(msgspec.Struct, frozen=True):
    """Beside the token file: the digest of the code, and the token until it has its own file."""

    code: str
    token_hash: str
    token: str = ""


@dataclass(frozen=True, slots=True)
class TokenFile:
    """The token file and its record. `owner`: the service's user, where root runs the command."""

    path: Path
    is_credential: bool
    owner: str

    @property
    def record_path(self) -> Path:
        """The path of the record."""
        return self.path.with_name(f"{self.path.name}.join")

    def begin(self, code: JoinCode, code_digest: str) -> JoinRecord:
        """Return the record of this code; make a token and write both if there is none.

        The token is on the disk before head office learns its hash: if the answer is lost, the
        next run registers the same token.
        """
        self._make_directory()
        record = self._record()
        if record is not None and record.code == code_digest and self._has(record):
            return record
        token = make_token(code.store_id, code.till_id, secrets.token_bytes(SECRET_BYTES))
        record = JoinRecord(code_digest, hash_token(token), token)
        self._write_record(record)
        return record

    def finish(self, record: JoinRecord) -> None:
        """Write the token to its file; keep only its hash in the record. Idempotent."""
        if not record.token:
            return
        uid, gid, mode = self._owner()
        with atomic_file(self.path, mode) as file:
            _change_owner(file, uid, gid)
            file.write(f"{record.token}\n".encode())
        self._write_record(JoinRecord(record.code, record.token_hash))

    def _make_directory(self) -> None:
        """Create the missing parent directories, with the owner of the file."""
        missing = [place for place in self.path.parents if not place.exists()]
        make_directory(self.path.parent)
        uid, gid, _ = self._owner()
        for place in missing:
            if (uid, gid) != (os.geteuid(), os.getegid()):
                os.chown(place, uid, gid)

    def _has(self, record: JoinRecord) -> bool:
        """Return whether the token of the record is still there, in it or in the file."""
        if record.token:
            return hash_token(record.token) == record.token_hash
        try:
            return hash_token(self.path.read_text("latin-1").strip()) == record.token_hash
        except OSError:
            return False

    def _record(self) -> JoinRecord | None:
        try:
            return msgspec.json.decode(self.record_path.read_bytes()[:_MAX_BYTES], type=JoinRecord)
        except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
            return None

    def _write_record(self, record: JoinRecord) -> None:
        with atomic_file(self.record_path) as file:
            file.write(msgspec.json.encode(record))

    def _owner(self) -> tuple[int, int, int]:
        """Return user, group and mode: of the existing file, else of the file's reader and 0600.

        The file is not root's and readable for the group: a program makes secret files of its own
        user private, so that `doctor` run by root would lock the service out.
        """
        try:
            before = self.path.stat()
        except FileNotFoundError:
            uid, gid = os.geteuid(), os.getegid()
            if uid == _ROOT and not self.is_credential:
                with suppress(KeyError):
                    user = pwd.getpwnam(self.owner)
                    uid, gid = user.pw_uid, user.pw_gid
            return uid, gid, 0o600
        return before.st_uid, before.st_gid, stat.S_IMODE(before.st_mode) & ~stat.S_IRWXO


def write_authority(path: Path, certificate: str) -> None:
    """Write a certificate authority's certificate, which is public."""
    with atomic_file(path, _PUBLIC) as file:
        file.write(certificate.encode())


def read_configuration(path: Path) -> str:
    """Return the text of a configuration file; empty if there is none. Raises `OSError`."""
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return ""


def replace_configuration(path: Path, before: str, after: str) -> None:
    """Replace the text `before` of a configuration file by `after`; keep its owner and mode.

    Raises `ConfigurationChangedError` if the text is not `before` any more, and `OSError`.
    """
    if after == before:
        return
    real = path.resolve()
    status = real.stat() if real.exists() else None
    with atomic_file(real, stat.S_IMODE(status.st_mode) if status else _PUBLIC) as file:
        file.write(after.encode())
        if status is not None:
            _change_owner(file, status.st_uid, status.st_gid)
        if read_configuration(real) != before:
            raise ConfigurationChangedError


@contextmanager
def restored_on_failure(
    path: Path | None, unless: Callable[[], bool] = lambda: False
) -> Iterator[None]:
    """If the block fails, restore a file's content, or delete it if it was not there."""
    before = path.read_bytes() if path is not None and path.exists() else None
    try:
        yield
    except BaseException:
        if path is not None and not unless():
            if before is None:
                path.unlink(missing_ok=True)
            else:
                with atomic_file(path, stat.S_IMODE(path.stat().st_mode)) as file:
                    file.write(before)
        raise


@contextmanager
def join_lock(directory: Path) -> Iterator[None]:
    """Hold the lock on the directory. Raises `JoinInProgressError`, and `OSError`."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise JoinInProgressError from None
    finally:
        os.close(descriptor)


def _change_owner(file: BinaryIO, uid: int, gid: int) -> None:
    if (uid, gid) != (os.geteuid(), os.getegid()):
        os.fchown(file.fileno(), uid, gid)

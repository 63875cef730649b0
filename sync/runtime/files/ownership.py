"""Commands of root in a directory of a service: its files must stay the service's."""

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_ROOT = 0


@contextmanager
def acting_as_owner(directory: Path) -> Iterator[None]:
    """As root, act as the user whom `directory` belongs to until the block ends.

    In all threads. Nothing changes for another user, or if the directory is missing.
    """
    status = _status_for_root(directory)
    if status is None or status.st_uid == _ROOT:
        yield
    else:
        with _acting(status.st_uid, status.st_gid):
            yield


@contextmanager
def acting_as_service(directory: Path, user: str) -> Iterator[None]:
    """As root, act as the user of a service, with all its groups, until the block ends.

    That is the owner of its `directory`, or `user` while the directory is missing. In all threads.
    Nothing changes for another user, or if there is no such user.
    """
    account = _account(directory, user)
    if account is None or account.pw_uid == _ROOT:
        yield
        return
    groups = os.getgroups()
    os.setgroups(os.getgrouplist(account.pw_name, account.pw_gid))
    try:
        with _acting(account.pw_uid, account.pw_gid):
            yield
    finally:
        os.setgroups(groups)


@contextmanager
def _acting(uid: int, gid: int) -> Iterator[None]:
    os.setegid(gid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(_ROOT)
        os.setegid(_ROOT)


def service_user(directory: Path, user: str) -> str:
    """Return the name of the user as whom `acting_as_service` acts; empty: as this one."""
    account = _account(directory, user)
    return "" if account is None or account.pw_uid == _ROOT else account.pw_name


def make_for_service(directory: Path, user: str) -> None:
    """As root, create the missing `directory` for a service, if its user exists.

    Raises `OSError`.
    """
    if os.geteuid() != _ROOT or os.path.lexists(directory):
        return
    with suppress(KeyError):
        owner = pwd.getpwnam(user)
        directory.mkdir(mode=0o700, parents=True)
        os.chown(directory, owner.pw_uid, owner.pw_gid)


def _account(directory: Path, user: str) -> pwd.struct_passwd | None:
    if os.geteuid() == _ROOT:
        with suppress(KeyError):
            status = _status_for_root(directory)
            return pwd.getpwuid(status.st_uid) if status else pwd.getpwnam(user)
    return None


def _status_for_root(directory: Path) -> os.stat_result | None:
    with suppress(OSError):
        return directory.stat() if os.geteuid() == _ROOT else None
    return None

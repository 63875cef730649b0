"""Sessions of signed-in readers, on both databases."""

import json
from datetime import timedelta
from itertools import count

import pytest

from sync.receiver.audit.audit_log import AuditLog
from sync.receiver.audit.author import Author
from sync.receiver.auth.reader_sessions import LIFETIME, ReaderSessions
from sync.receiver.db.tables import AuditRecord, ReaderSessionRecord
from tests.support.head_office.ledger import LedgerDriver
from tests.support.head_office.messages import AT

TOKEN = "correct-horse-battery"  # noqa: S105 - of these tests only
_NUMBERS = count()


def sessions_of(office: LedgerDriver, token: str = TOKEN) -> ReaderSessions:
    return ReaderSessions(office.database, lambda: token, lambda: f"secret-{next(_NUMBERS)}")


def audit() -> AuditLog:
    author = Author("readers' token", "198.51.100.7")
    return AuditLog(author, lambda: AT, lambda: f"{next(_NUMBERS):032}")


@pytest.mark.parametrize(
    ("after", "expected"),
    [(timedelta(), True), (LIFETIME - timedelta(seconds=1), True), (LIFETIME, False)],
)
async def test_session_is_valid_until_it_expires(
    office: LedgerDriver,
    after: timedelta,
    expected: bool,  # noqa: FBT001 - a case
) -> None:
    sessions = sessions_of(office)
    cookie = await sessions.start(AT, audit(), "token")

    assert await sessions.is_valid(cookie, AT + after) is expected


async def test_session_that_a_clock_ahead_started_is_not_valid_for_years(
    office: LedgerDriver,
) -> None:
    sessions = sessions_of(office)
    cookie = await sessions.start(AT + timedelta(days=365), audit(), "token")

    assert not await sessions.is_valid(cookie, AT)


@pytest.mark.parametrize("cookie", ["", "x", "é\x00\udc80", "secret-none", "x" * 4000])
async def test_unknown_cookie_is_not_valid(office: LedgerDriver, cookie: str) -> None:
    sessions = sessions_of(office)
    await sessions.start(AT, audit(), "token")

    assert not await sessions.is_valid(cookie, AT)


async def test_another_receiver_with_the_same_token_knows_the_session(office: LedgerDriver) -> None:
    cookie = await sessions_of(office).start(AT, audit(), "token")

    assert await sessions_of(office).is_valid(cookie, AT)


async def test_new_token_ends_the_sessions_of_the_old_one(office: LedgerDriver) -> None:
    cookie = await sessions_of(office).start(AT, audit(), "token")

    assert not await sessions_of(office, "another-token-as-long").is_valid(cookie, AT)


async def test_signing_out_ends_this_session_at_every_receiver(office: LedgerDriver) -> None:
    sessions = sessions_of(office)
    ended, other = [await sessions.start(AT, audit(), "token") for _ in range(2)]

    await sessions.end(ended, AT, audit())
    await sessions.end(ended, AT, audit())
    await sessions.end("unknown", AT, audit())

    valid = [await sessions_of(office).is_valid(cookie, AT) for cookie in (ended, other)]
    assert valid == [False, True]


async def test_database_holds_neither_cookie_nor_token(office: LedgerDriver) -> None:
    """A copy of the database does not let its reader sign in."""
    cookie = await sessions_of(office).start(AT, audit(), "token")

    ((stored,),) = await office.rows(ReaderSessionRecord, "session_hash")

    assert not await sessions_of(office).is_valid(str(stored), AT)
    assert cookie not in str(stored)


async def test_expired_sessions_are_deleted_at_the_next_sign_in(office: LedgerDriver) -> None:
    sessions = sessions_of(office)
    for _ in range(3):
        await sessions.start(AT, audit(), "token")

    await sessions.start(AT + LIFETIME, audit(), "token")

    assert len(await office.rows(ReaderSessionRecord, "expires_at")) == 1


async def test_signing_in_and_out_is_in_the_audit_log(office: LedgerDriver) -> None:
    sessions = sessions_of(office)
    cookie = await sessions.start(AT, audit(), "link")
    await sessions.end(cookie, AT, audit())

    entries = await office.rows(AuditRecord, "action", "actor", "origin", "detail")

    assert [entry[:3] for entry in entries] == [
        ("sign-in", "readers' token", "198.51.100.7"),
        ("sign-out", "readers' token", "198.51.100.7"),
    ]
    assert json.loads(str(entries[0][3])) == {"method": "link"}

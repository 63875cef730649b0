"""Checks of a PostgreSQL database, in one read-only transaction. Changes nothing."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from sync.receiver.config import ReceiverSettings
from sync.receiver.db.migrate import encoding_errors, revision_of
from sync.receiver.db.open import unopened_database
from sync.receiver.db.tables import LedgerTable
from sync.receiver.doctor.hosts import check_hosts
from sync.receiver.doctor.schema import check_schema, check_tills, count_tills
from sync.runtime.checks.check import Check, fault, passed, warning
from sync.runtime.settings.setting_errors import ConfigurationError, SettingError

_DATABASE, _ENCODING, _RIGHTS = "database", "encoding", "rights"
_DURABILITY, _CLOCK = "durability", "database clock"
_OLDEST_VERSION = 14
_OFFSET, _FAR_OFFSET = timedelta(minutes=1), timedelta(days=1)
_SERVER = text("""
    SELECT current_setting('server_version_num')::int / 10000 AS major,
        current_setting('server_version') AS version,
        current_setting('server_encoding') AS encoding,
        current_setting('fsync') AS fsync,
        current_setting('full_page_writes') AS full_page_writes,
        current_setting('default_transaction_read_only') AS read_only,
        pg_is_in_recovery() AS is_standby, clock_timestamp() AS now, current_user AS role,
        pg_database_size(current_database()) AS bytes,
        has_schema_privilege(current_schema(), 'CREATE') AS may_create""")
_TABLES = text("""
    SELECT relname, pg_has_role(relowner, 'USAGE') AS is_owner,
        has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT')
        AND (has_table_privilege(c.oid, 'UPDATE') AND has_table_privilege(c.oid, 'DELETE')
            -- which is append-only, also for its owner
            OR relname = 'audit_log')
        AS may_write
    FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
    WHERE nspname = current_schema() AND relkind IN ('r', 'p')""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """State of the server, and the rights of this user in its database."""

    major: int
    version: str
    encoding: str
    fsync: str
    full_page_writes: str
    read_only: str
    is_standby: bool
    now: datetime
    role: str
    bytes: int
    may_create: bool
    not_writable: Sequence[str] = ()
    not_owned: Sequence[str] = ()
    revision: str | None = None
    tills: int | None = None


async def check_postgresql(settings: ReceiverSettings, now: datetime) -> list[Check]:
    """Check the database that the settings name; `now` is this machine's time."""
    database = unopened_database(settings)
    try:
        server = await database.read(_read)
    except (OSError, SQLAlchemyError) as error:
        reason = getattr(error, "orig", None) or error
        found = f"{settings.database_name}: {reason}"
        advice = (
            "check that the server runs and is reached from here, the name, user and password of"
            " the database (database.url, database.password_file), and pg_hba.conf"
        )
        return [fault(_DATABASE, found, advice)]
    finally:
        await database.close()
    return [*judge(server, settings.database_name, now), *await check_hosts(settings)]


async def find_encoding_errors(settings: ReceiverSettings) -> list[SettingError]:
    """Return the error of a database that is not in UTF-8.

    Empty if the server cannot be reached: an outage is not an error of the configuration.
    """
    try:
        database = unopened_database(settings)
    except ConfigurationError:
        return []
    try:
        return await database.read(encoding_errors)
    except (OSError, SQLAlchemyError):
        return []
    finally:
        await database.close()


def judge(server: Server, name: str, now: datetime) -> Iterator[Check]:
    """Yield the findings about a server; `now` is this machine's time."""
    found = f"{name}: PostgreSQL {server.version}, {server.bytes / 1024**2:,.0f} MiB"
    if server.major < _OLDEST_VERSION:
        advice = f"upgrade to PostgreSQL {_OLDEST_VERSION} or later: older ones are not maintained"
        yield warning(_DATABASE, found, advice)
    else:
        yield passed(_DATABASE, found)
    if server.encoding == "UTF8":
        yield passed(_ENCODING, "UTF8")
    else:
        advice = "create the database with ENCODING 'UTF8' TEMPLATE template0, and restore into it"
        yield fault(_ENCODING, f"{server.encoding}: names and texts of tills do not fit", advice)
    yield _check_rights(server)
    yield _check_durability(server)
    yield _check_clock(server.now - now)
    if not server.not_writable:
        yield check_schema(server.revision)
    if server.tills is not None:
        yield check_tills(server.tills)


def _check_rights(server: Server) -> Check:
    role = server.role
    if server.is_standby or server.read_only == "on":
        kind = "a standby" if server.is_standby else "read-only by default"
        advice = "name the primary, or several hosts with ?target_session_attrs=read-write"
        return fault(_RIGHTS, f"the server is {kind}: no capture can be stored", advice)
    if server.not_writable:
        tables = ", ".join(server.not_writable)
        advice = f"make {role} their owner, or grant SELECT, INSERT, UPDATE, DELETE on them"
        return fault(_RIGHTS, f"the user {role} may not write to {tables}", advice)
    if server.revision is None and not server.may_create:
        advice = f"make the user {role} the owner of the database, or grant CREATE on its schema"
        return fault(_RIGHTS, f"the user {role} may not create tables", advice)
    if server.not_owned:
        tables = ", ".join(server.not_owned)
        advice = f"make {role} their owner: an upgrade changes them at its first start"
        return warning(_RIGHTS, f"the user {role} does not own {tables}", advice)
    return passed(_RIGHTS, f"the user {role} may read, write and migrate")


def _check_durability(server: Server) -> Check:
    off = [name for name in ("fsync", "full_page_writes") if getattr(server, name) != "on"]
    if not off:
        return passed(_DURABILITY, "a commit is on the server's disk")
    found = f"{' and '.join(off)} off: a power cut of the server loses what agents have erased"
    return fault(_DURABILITY, found, f"set {' and '.join(f'{name} = on' for name in off)} there")


def _check_clock(ahead: timedelta) -> Check:
    seconds = abs(ahead).total_seconds()
    if abs(ahead) < _OFFSET:
        return passed(_CLOCK, f"within {_OFFSET.seconds} s of this machine's clock")
    found = f"{seconds:,.0f} s {'ahead of' if ahead > timedelta(0) else 'behind'} this machine's"
    advice = "set both clocks and keep them synchronised (timedatectl set-ntp true)"
    return (fault if abs(ahead) >= _FAR_OFFSET else warning)(_CLOCK, found, advice)


def _read(connection: Connection) -> Server:
    server = connection.execute(_SERVER).mappings().one()
    ours = {table.name for table in LedgerTable.metadata.tables.values()}
    tables = [row for row in connection.execute(_TABLES).mappings() if row["relname"] in ours]
    not_writable = sorted(row["relname"] for row in tables if not row["may_write"])
    return Server(
        **server,
        not_writable=not_writable,
        not_owned=sorted(row["relname"] for row in tables if not row["is_owner"]),
        revision=None if not_writable else revision_of(connection),
        tills=count_tills(connection) if tables and not not_writable else None,
    )

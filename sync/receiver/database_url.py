"""The URL of PostgreSQL in the settings: parses and validates its hosts and options.

Several hosts stand as libpq has them, `user@one:5432,two:5432/database`, or as SQLAlchemy has
them, `user@/database?host=one:5432&host=two:5432`.
"""

import difflib
import re
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

POSTGRESQL = "postgresql+asyncpg://"
DEFAULT_PORT = 5432
TARGET = "target_session_attrs"
# libpq has more, of which all are for readers: head office writes.
TARGETS = ("any", "read-write", "primary")
_MAX_PORT = 65_535
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
# Of the driver; others would end the start with an error of the driver's own.
_OPTIONS = (
    *("host", "port", "user", "password", "passfile", "ssl", TARGET),
    *("krbsrvname", "gsslib", "prepared_statement_cache_size"),
)
_VALUES: Mapping[str, tuple[str, ...]] = {
    "ssl": _SSL_MODES,
    TARGET: TARGETS,
    "gsslib": ("gssapi", "sspi"),
}
_EXPECTED = "expected [user@]host[:port]/database after //, and a port from 1 to 65535"
_AUTHORITY = re.compile(r"(?P<user>[^/?]*@)?(?P<hosts>[^/?@]*)(?P<rest>.*)", re.DOTALL)
_HOST = re.compile(r"(?:\[(?P<ipv6>[^]]+)\]|(?P<name>[^:\[\],]+))(?::(?P<port>\d+))?")


def parse_server_url(text: str) -> URL:
    """Return the URL with its hosts as SQLAlchemy has them.

    Raises `ValueError` or `ArgumentError`.
    """
    found = _AUTHORITY.fullmatch(text.removeprefix(POSTGRESQL))
    if found is None or "," not in found["hosts"]:
        return make_url(text)
    hosts, ports = zip(*map(_host_and_port, found["hosts"].split(",")), strict=True)
    url = make_url(f"{POSTGRESQL}{found['user'] or ''}{found['rest']}")
    if {"host", "port"} & set(url.query):
        raise ArgumentError("name the hosts in one place: before the database, or as options")
    return url.set(query=url.query | {"host": ",".join(hosts), "port": ",".join(ports)})


def connect_arguments(url: URL) -> dict[str, Any]:
    """Return the driver's arguments. Raises `ArgumentError` or `ValueError`."""
    return dict(url.get_dialect()().create_connect_args(url)[1])


def places_of(arguments: Mapping[str, Any]) -> list[tuple[str | None, int | None]]:
    """Return host and port of each server in the driver's arguments; None: the driver's default."""
    host, port = arguments.get("host"), arguments.get("port")
    hosts = host if isinstance(host, list) else [host]
    ports = port if isinstance(port, list) else [port] * len(hosts)
    return [*zip(hosts, ports, strict=True)]


def find_url_fault(text: str) -> str | None:
    """Return the fault of a server's URL; None if it is valid."""
    try:
        url = parse_server_url(text)
    except ArgumentError as error:
        return str(error) if "one place" in str(error) else _EXPECTED
    except ValueError:
        return _EXPECTED
    checks: tuple[Callable[[URL], str | None], ...] = (
        *(_unknown_option, _given_twice, _wrong_value, _password, _wrong_place),
    )
    return next((fault for check in checks if (fault := check(url))), None)


def _host_and_port(text: str) -> tuple[str, str]:
    found = _HOST.fullmatch(text)
    if found is None:
        raise ValueError(text)
    return found["ipv6"] or found["name"], found["port"] or str(DEFAULT_PORT)


def _unknown_option(url: URL) -> str | None:
    unknown = sorted(set(url.query) - set(_OPTIONS))
    if not unknown:
        return None
    close = difflib.get_close_matches(unknown[0], _OPTIONS, 1, 0.4)
    hint = f"did you mean {close[0]}?" if close else f"there are: {', '.join(_OPTIONS)}"
    return f'there is no option "{unknown[0]}" in the URL; {hint}'


def _given_twice(url: URL) -> str | None:
    twice = [name for name, value in url.query.items() if not isinstance(value, str)]
    others = sorted(set(twice) - {"host", "port"})
    return f'the option "{others[0]}" stands twice in the URL' if others else None


def _wrong_value(url: URL) -> str | None:
    for name, values in _VALUES.items():
        if (value := url.query.get(name, values[0])) not in values:
            why = ": head office writes" if name == TARGET else ""
            return f"expected {name} to be one of {', '.join(values)}{why}; found {value}"
    size = url.query.get("prepared_statement_cache_size", "0")
    if not (isinstance(size, str) and size.isascii() and size.isdigit()):
        return f"expected prepared_statement_cache_size to be a whole number; found {size}"
    return None


def _password(url: URL) -> str | None:
    if not url.password and "password" not in url.query:
        return None
    return "put the password into the file database.password_file"


def _wrong_place(url: URL) -> str | None:
    try:
        places = places_of(connect_arguments(url))
    except (ArgumentError, ValueError):
        return "expected host=one:5432&host=two:5432, each with its port"
    if all(port is None or 1 <= port <= _MAX_PORT for _, port in places):
        return None
    return _EXPECTED

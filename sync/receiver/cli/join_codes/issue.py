"""Join codes of `loyalty-hq enroll --url`: one, or those of a list."""

import secrets
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import typer
from pydantic import TypeAdapter, ValidationError

from sync.protocol.join_code import SECRET_BYTES, JoinCode, is_encodable_url, make_secret
from sync.receiver.auth.authority import (
    Authority,
    AuthorityError,
    authority_of,
    check_authority,
    read_authority,
)
from sync.receiver.auth.join_codes import VALID_DAYS, JoinCodes, NewCode
from sync.receiver.auth.tokens import AgentName
from sync.receiver.cli.hq import HEAD_OFFICE, audit_log, run_on_database
from sync.receiver.cli.join_codes.code_file import HEADER, CodeFile, CodeFileError, lines
from sync.receiver.cli.join_codes.url_check import find_url_problem
from sync.receiver.cli.machine_list import read_machines
from sync.receiver.cli.output import OutputError, output_to
from sync.receiver.config import ReceiverSettings
from sync.receiver.db.database import Database
from sync.runtime.cli.printing import count, echo
from sync.runtime.cli.progress import row_counter
from sync.runtime.settings.secret_files import serving_tls
from sync.runtime.settings.types import SecureUrl

# One transaction each: it holds the lock of enrolments, and on SQLite the only writer.
SLICE = 500
_url = TypeAdapter(SecureUrl)


@dataclass(frozen=True, slots=True)
class CodeTarget:
    """Head office as machines reach it: its URL, and the file with its authority if given."""

    url: str
    ca_file: Path | None


def print_code(settings: ReceiverSettings, target: CodeTarget, name: AgentName) -> None:
    """Issue a join code and print it, alone, on standard output."""
    issuer = _issuer(settings, target)
    code = issuer.code(name)
    expires_at = run_on_database(settings, partial(issuer.store, codes=[code]), create=True)
    echo(str(code))
    echo(
        f"This code is a secret. It is valid once, until {expires_at:%Y-%m-%d %H:%M} UTC. On the"
        " POS machine, as root: loyalty-agent join",
        err=True,
    )


def print_codes(
    settings: ReceiverSettings, target: CodeTarget, list_file: Path, output: Path | None
) -> None:
    """Issue the join codes of a list and print them as CSV, or write them to a new file."""
    issuer = _issuer(settings, target)
    names = read_machines(list_file, "no code is issued")
    if output is None:
        with output_to(None, "run the command again: it issues all codes again") as file:
            file.write(HEADER.encode())
            issuer.issue_all(names, lambda *codes: file.write(lines(*codes)), is_printing=True)
    elif output.exists():
        HEAD_OFFICE.refuse(
            f"{output} exists already, and its codes may be in use: choose another name"
        )
    else:
        _write_file(issuer, names, output)
        echo(f"Codes for {count(len(names), 'machine')} are in {output}.", err=True)


def _write_file(issuer: "_Issuer", names: list[AgentName], output: Path) -> None:
    again = f"run the command again to continue {output}.part"
    try:
        with closing(CodeFile(output, issuer.template, datetime.now(UTC))) as file:
            if file.names:
                earlier = count(len(file.names), "code")
                echo(f"{file.part}: {earlier} of an earlier run.", err=True)
            left = [name for name in names if name not in file.names]
            issuer.issue_all(left, file.write, is_printing=False)
            file.finish()
    except CodeFileError as error:
        HEAD_OFFICE.refuse(str(error))
    except (OSError, OutputError) as error:
        reason = getattr(error, "strerror", None) or error
        HEAD_OFFICE.fail(f"cannot write {output}.part ({reason}): {again}")
    except (typer.Exit, KeyboardInterrupt):
        HEAD_OFFICE.warn(f"not all codes are issued: {again}")
        raise


@dataclass(frozen=True, slots=True)
class _Issuer:
    """Makes and stores codes from a `template` without names and secret.

    `authority`: the one to serve to machines, if they need it.
    """

    settings: ReceiverSettings
    template: JoinCode
    authority: Authority | None

    def code(self, name: AgentName) -> JoinCode:
        secret = make_secret(secrets.token_bytes(SECRET_BYTES))
        return replace(self.template, store_id=name.store_id, till_id=name.till_id, secret=secret)

    async def store(self, database: Database, codes: list[JoinCode]) -> datetime:
        """Store codes in one transaction; return when they expire."""
        stored, at = JoinCodes(database), datetime.now(UTC)
        if self.authority is not None:
            await stored.add_authority(self.authority.mark, self.authority.certificate, at)
        new = [NewCode(AgentName(one.store_id, one.till_id), one.secret) for one in codes]
        await stored.issue(new, at, audit_log())
        return at + timedelta(days=VALID_DAYS)

    def issue_all(
        self,
        names: Sequence[AgentName],
        write: Callable[[list[JoinCode], datetime], object],
        *,
        is_printing: bool,
    ) -> None:
        """Issue codes slice by slice: stored first, then written."""

        async def issue(database: Database) -> None:
            with row_counter("Issuing codes:", is_printing=is_printing) as advance:
                for start in range(0, len(names), SLICE):
                    codes = [self.code(name) for name in names[start : start + SLICE]]
                    write(codes, await self.store(database, codes))
                    advance(len(codes), codes[-1].store_id)

        run_on_database(self.settings, issue, create=True)


def _issuer(settings: ReceiverSettings, target: CodeTarget) -> _Issuer:
    """Check the target and return the issuer of its codes, else exit with code 2."""
    try:
        url = _url.validate_python(target.url).rstrip("/")
    except ValidationError as error:
        reason = str(error.errors()[0]["ctx"]["error"])
        raise typer.BadParameter(reason, param_hint="--url") from None
    if not is_encodable_url(url):
        raise typer.BadParameter(
            "expected a URL of letters, digits and . _ ~ : / % [ ] -", param_hint="--url"
        )
    try:
        authority = _authority(settings, url, target.ca_file)
    except AuthorityError as error:
        HEAD_OFFICE.refuse(str(error))
    mark = authority.mark if authority else ""
    if problem := find_url_problem(url, authority):
        HEAD_OFFICE.warn(
            f"warning: tried from here, {url} cannot be joined: {problem}. Codes are issued, and"
            " work once machines reach head office at this URL"
        )
    return _Issuer(settings, JoinCode("", "", url, "", mark), authority)


def _authority(settings: ReceiverSettings, url: str, ca_file: Path | None) -> Authority | None:
    """Return the authority that codes name; None if machines trust head office without it.

    Behind a proxy, which has the certificate, only `ca_file` names it.
    """
    parts, server = urlsplit(url), settings.server
    if parts.scheme != "https":
        return None
    authority = read_authority(ca_file) if ca_file else None
    certificate, key, host = server.tls_cert_file, server.tls_key_file, parts.hostname or ""
    if certificate is None or key is None:
        return authority
    with HEAD_OFFICE.exit_on_configuration_error():
        served = serving_tls(certificate, key, "server.tls_cert_file")
    if server.behind_proxy:
        return authority
    if authority is None:
        authority = authority_of(served, certificate, host)
    if authority is not None:
        check_authority(served, certificate, host, authority)
    return authority

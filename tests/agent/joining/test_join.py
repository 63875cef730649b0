"""A machine joins head office: its files afterwards, and after anything that went wrong."""

import asyncio
import json
import os
import pwd
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from pytest_aiohttp import AiohttpServer

from agent.config import ConfigurationError, load_settings
from agent.joining import files, registration
from agent.joining.files import (
    ConfigurationChangedError,
    JoinInProgressError,
    TokenFile,
    join_lock,
)
from agent.joining.plan import joined_elsewhere
from agent.joining.registration import HeadOffice, RegistrationError
from sync.protocol.agent_token import hash_token
from sync.protocol.join_code import JoinCode, authority_mark
from sync.receiver.auth.authority import read_authority
from sync.receiver.auth.tokens import AgentName
from sync.runtime.files import atomic_file as files_of_both
from sync.runtime.settings.toml_edit import TomlEditError
from tests.agent.joining.conftest import EXAMPLE, Machine, Office
from tests.support.certificates import make_authority
from tests.support.head_office.audit import audit_by
from tests.support.head_office.messages import AT


def mode_of(file: Path) -> int:
    return file.stat().st_mode & 0o777


async def test_joined_machine_has_a_token_that_head_office_accepts(
    office: Office, machine: Machine
) -> None:
    code = await office.issue()

    await machine.join(code)

    agent = await office.accepts(machine.token)
    assert agent is not None
    assert (agent.name.store_id, agent.name.till_id) == ("0042", "till-1")
    assert mode_of(machine.token_file) == 0o600


async def test_settings_are_written_in_place(office: Office, machine: Machine) -> None:
    code = await office.issue()

    await machine.join(code)

    authority = machine.config.with_name("head-office-ca.pem")
    assert (
        machine.config.read_text()
        == f"""\
# The till at the entrance.
[store]
store_id = "0042"  # set by join
till_id = "till-1"

[api]
port = 8481

[central]
url = "{office.url}"
# ca_file = "/etc/loyalty-agent/central-ca.pem"
ca_file = "{authority}"

[central.auth]
kind = "bearer"
# token_file = "credential:central-token"
token_file = "credential:central-token"
"""
    )
    settings = load_settings(machine.config, machine.environ)
    assert settings.central.auth.token_file == machine.token_file
    assert mode_of(authority) == 0o644


@pytest.mark.skipif(os.geteuid() != 0, reason="changes owners")
async def test_configuration_keeps_owner_mode_and_link(office: Office, machine: Machine) -> None:
    real = machine.config.rename(machine.config.with_name("real.toml"))
    machine.config.symlink_to(real.name)
    real.chmod(0o640)
    os.chown(real, 0, pwd.getpwnam("nobody").pw_gid)

    await machine.join(await office.issue())

    assert machine.config.is_symlink()
    assert (mode_of(real), real.stat().st_gid) == (0o640, pwd.getpwnam("nobody").pw_gid)
    assert 'store_id = "0042"' in real.read_text()


@pytest.mark.skipif(os.geteuid() != 0, reason="changes owners")
async def test_token_goes_where_the_settings_already_say(office: Office, machine: Machine) -> None:
    own = machine.config.with_name("own.token")
    machine.config.write_text(
        EXAMPLE.replace('kind = "none"', f'kind = "bearer"\ntoken_file = "{own}"')
    )
    own.write_text("old")
    own.chmod(0o640)
    os.chown(own, 0, pwd.getpwnam("nobody").pw_gid)

    await machine.join(await office.issue())

    assert await office.accepts(own.read_text().strip()) is not None
    assert (mode_of(own), own.stat().st_gid) == (0o640, pwd.getpwnam("nobody").pw_gid)
    assert f'token_file = "{own}"' in machine.config.read_text()
    assert not machine.token_file.exists()


async def test_token_of_an_agent_without_systemd_belongs_to_its_user(
    office: Office, machine: Machine
) -> None:
    """Root runs the command; the agent's user must be able to read the token, and nobody else."""
    without = Machine(machine.config, is_service=False)

    await without.join(await office.issue())

    token = machine.config.with_name("central-token")
    owner = pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else os.geteuid()
    assert (token.stat().st_uid, mode_of(token)) == (owner, 0o600)


@pytest.mark.skipif(os.geteuid() != 0, reason="changes owners")
async def test_token_in_a_new_directory_is_within_reach_of_the_agents_user(
    office: Office, machine: Machine
) -> None:
    own = machine.config.parent / "secrets" / "head-office" / "token"
    machine.config.write_text(
        EXAMPLE.replace('kind = "none"', f'kind = "bearer"\ntoken_file = "{own}"')
    )

    await machine.join(await office.issue())

    owner = pwd.getpwnam("nobody").pw_uid
    assert {place.stat().st_uid for place in (own, *own.parents[:2])} == {owner}
    assert mode_of(own.parent) == 0o700


class LostAnswerError(Exception):
    """In place of a cable that breaks."""


@pytest.fixture
def lost_answer(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Lose the answer to a registration: head office has registered the token."""
    register = HeadOffice.register

    async def lose(self: HeadOffice, token_hash: str, ca_file: Path | None) -> None:
        await register(self, token_hash, ca_file)
        raise LostAnswerError

    monkeypatch.setattr(HeadOffice, "register", lose)
    return monkeypatch


async def test_lost_answer_does_not_strand_the_installer(
    office: Office, machine: Machine, lost_answer: pytest.MonkeyPatch
) -> None:
    code = await office.issue()
    with pytest.raises(LostAnswerError):
        await machine.join(code)
    lost_answer.undo()

    await machine.join(code)

    assert await office.accepts(machine.token) is not None


@pytest.mark.parametrize("write", range(5))
async def test_join_interrupted_at_any_write_continues(
    office: Office, machine: Machine, monkeypatch: pytest.MonkeyPatch, write: int
) -> None:
    """Of record, authority, token, record without token, configuration."""
    code = await office.issue()
    written: list[str] = []

    def atomic_file(path: Path, mode: int = 0o600) -> AbstractContextManager[BinaryIO]:
        if len(written) == write:
            raise LostAnswerError
        written.append(path.name)
        return files_of_both.atomic_file(path, mode)

    with monkeypatch.context() as patch:
        patch.setattr(files, "atomic_file", atomic_file)
        with pytest.raises(LostAnswerError):
            await machine.join(code)
    assert machine.config.read_text() == EXAMPLE

    await machine.join(code)

    assert await office.accepts(machine.token) is not None
    assert 'kind = "bearer"' in machine.config.read_text()


async def test_repeat_after_success_changes_nothing(office: Office, machine: Machine) -> None:
    code = await office.issue()
    await machine.join(code)
    before = {file: file.read_bytes() for file in machine.config.parent.rglob("*.*")}
    token = machine.token

    await machine.join(code)

    assert machine.token == token
    assert {file: file.read_bytes() for file in machine.config.parent.rglob("*.*")} == before


async def test_nothing_but_the_token_file_holds_the_token(office: Office, machine: Machine) -> None:
    await machine.join(await office.issue())

    holding = [
        file
        for file in machine.config.parent.rglob("*")
        if file.is_file() and machine.token in file.read_text()
    ]
    assert holding == [machine.token_file]


async def test_new_code_brings_a_new_token(office: Office, machine: Machine) -> None:
    """Also where the old one was stolen: it must not be registered again."""
    await machine.join(await office.issue())
    old = machine.token

    await machine.join(await office.issue(secret=b"t" * 16))

    assert machine.token != old
    assert await office.accepts(machine.token) is not None
    assert await office.accepts(old) is None


async def test_code_used_by_another_machine_is_refused_and_nothing_is_written(
    office: Office, machine: Machine, tmp_path: Path
) -> None:
    code = await office.issue()
    (tmp_path / "thief").mkdir()
    thief = Machine(tmp_path / "thief" / "config.toml")
    thief.config.write_text(EXAMPLE)
    await thief.join(code)

    with pytest.raises(RegistrationError, match="another machine has joined with this code"):
        await machine.join(code)

    assert machine.config.read_text() == EXAMPLE
    assert not machine.token_file.exists()


async def test_void_code_is_told_as_such(office: Office, machine: Machine) -> None:
    code = await office.issue()
    await office.issue(secret=b"t" * 16)

    with pytest.raises(RegistrationError, match="a newer one may have voided it"):
        await machine.join(code)


async def test_other_authority_than_the_codes_gets_no_secret(
    office: Office, machine: Machine
) -> None:
    """An attacker on the line replaces the authority that the code names."""
    code = await office.issue()
    joins = office.running.join_codes
    own = await joins.authority(code.authority)
    assert own is not None
    between = JoinCode(code.store_id, code.till_id, code.url, code.secret, "0" * 25)
    await joins.add_authority("0" * 25, own, AT)

    with pytest.raises(RegistrationError, match="another certificate authority"):
        await machine.join(between)

    assert machine.config.read_text() == EXAMPLE


async def test_certificate_added_to_the_authoritys_is_never_trusted(
    office: Office, machine: Machine, tmp_path: Path
) -> None:
    """An attacker on the line adds an authority to the one that the code names."""
    code = await office.issue()
    joins = office.running.join_codes
    own = await joins.authority(code.authority)
    assert own is not None
    added = make_authority(tmp_path / "added").cert_file.read_text()
    await joins.add_authority(code.authority, f"{own}{added}", AT)

    await machine.join(code)

    written = machine.config.with_name("head-office-ca.pem").read_bytes()
    (certificate,) = x509.load_pem_x509_certificates(written)
    assert authority_mark(certificate.public_bytes(Encoding.DER)) == code.authority


async def test_authority_that_arrives_in_pieces_is_read_whole(
    machine: Machine, tmp_path: Path, aiohttp_server: AiohttpServer
) -> None:
    """As a proxy passes it on, or a slow line."""
    made = make_authority(tmp_path / "tls")
    authority = read_authority(made.cert_file)
    answer = json.dumps({"certificate": authority.certificate}).encode()

    async def in_pieces(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for at in range(0, len(answer), 100):
            await response.write(answer[at : at + 100])
            for _ in range(20):
                await asyncio.sleep(0)  # the client, in the same event loop, reads
        return response

    app = web.Application()
    app.router.add_get("/{path:.*}", in_pieces)
    server = await aiohttp_server(app, ssl=made.served.served())
    code = JoinCode("0042", "till-1", f"https://127.0.0.1:{server.port}", "S" * 25, authority.mark)
    head_office = HeadOffice(code, load_settings(machine.config, machine.environ))

    assert await head_office.fetch_authority() == authority.certificate


async def test_head_office_that_is_not_trusted_gets_no_secret(
    office: Office, machine: Machine
) -> None:
    """A code without authority, for a certificate that only a private authority vouches for."""
    code = await office.issue()
    public = JoinCode(code.store_id, code.till_id, code.url, code.secret)

    with pytest.raises(RegistrationError, match="certificate is not trusted"):
        await machine.join(public, patience_seconds=60)

    await machine.join(code)


async def test_unreachable_head_office_is_told_and_the_code_stays_valid(
    office: Office, machine: Machine
) -> None:
    code = await office.issue()
    nowhere = JoinCode(code.store_id, code.till_id, "https://127.0.0.1:9", code.secret)

    with pytest.raises(RegistrationError, match=r"127\.0\.0\.1:9: no connection"):
        await machine.join(nowhere)

    await machine.join(code)


async def test_failed_join_leaves_the_files_of_the_earlier_one_as_they_are(
    office: Office, machine: Machine
) -> None:
    """The agent goes on with the head office that it had joined."""
    await machine.join(await office.issue())
    places = machine.config.parent.rglob("*")
    before = {place: place.read_bytes() for place in places if place.is_file()}
    nowhere = JoinCode("0042", "till-1", "https://127.0.0.1:9", "secret" * 5)
    used = await office.issue("till-9", b"t" * 16)
    other = Machine(machine.config.parent / "other" / "config.toml")
    other.config.parent.mkdir()
    other.config.write_text(EXAMPLE)
    await other.join(used)
    before |= {p: p.read_bytes() for p in other.config.parent.rglob("*") if p.is_file()}

    for code in (nowhere, used):
        with pytest.raises(RegistrationError):
            await machine.join(code)

    after = {place: place.read_bytes() for place in before if place.exists()}
    assert after == before
    assert {place for place in machine.config.parent.rglob("*") if place.is_file()} == set(before)


async def test_failed_first_join_leaves_no_file(office: Office, machine: Machine) -> None:
    nowhere = JoinCode("0042", "till-1", "https://127.0.0.1:9", "secret" * 5, office.authority_mark)

    with pytest.raises(RegistrationError):
        await machine.join(nowhere)

    assert [place for place in machine.config.parent.rglob("*") if place.is_file()] == [
        machine.config
    ]


async def test_refused_connection_is_told_at_once_and_tried_for_seconds(
    office: Office, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistyped port is told at once; a head office that restarts is met all the same."""
    monkeypatch.setattr(registration, "REFUSED_SECONDS", 0.4)
    monkeypatch.setattr(registration, "_USUAL_WAIT_SECONDS", 0.01)
    said: list[str] = []
    code = JoinCode("0042", "till-1", "https://127.0.0.1:9", "secret" * 5)
    head_office = HeadOffice(code, machine.joining(code).place.settings, say=said.append)

    with pytest.raises(RegistrationError, match="Connection refused"):
        await head_office.register("hash", None)

    assert len(said) == 1
    assert "127.0.0.1:9: no connection to head office: Connection refused" in said[0]
    assert "tried again" in said[0]


async def test_file_that_cannot_be_edited_is_found_before_the_code_is_used(
    office: Office, machine: Machine
) -> None:
    code = await office.issue()
    odd = EXAMPLE.replace("[store]\n", "store = { till_id = 'unnamed-till' }\n[x]\n")
    odd = odd.replace('store_id = "unnamed-store"  # set by join\ntill_id = "unnamed-till"\n', "")
    machine.config.write_text(odd.replace("[x]\n", ""))

    with pytest.raises(TomlEditError):
        await machine.join(code)

    machine.config.write_text(EXAMPLE)
    await machine.join(code)


async def test_hand_edit_made_meanwhile_is_not_lost(office: Office, machine: Machine) -> None:
    code = await office.issue()

    def edit(step: str) -> None:
        if step == "Writing the settings":
            machine.config.write_text(f"{EXAMPLE}# edited meanwhile\n")

    with pytest.raises(ConfigurationChangedError):
        await machine.join(code, show=edit)
    await machine.join(code)

    assert "# edited meanwhile" in machine.config.read_text()
    assert await office.accepts(machine.token) is not None


async def test_settings_that_would_be_wrong_are_not_written(
    office: Office, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = await office.issue()

    def refuse(*_: object) -> None:
        raise ConfigurationError([])

    monkeypatch.setattr("agent.joining.join.load_settings", refuse)
    with pytest.raises(ConfigurationError):
        await machine.join(code)

    assert machine.config.read_text() == EXAMPLE
    assert [file.name for file in machine.config.parent.iterdir()] == ["config.toml"]


async def test_two_joins_at_once_are_one_after_the_other(office: Office, machine: Machine) -> None:
    code = await office.issue()

    with join_lock(machine.config.parent), pytest.raises(JoinInProgressError):
        await machine.join(code)


async def test_head_office_is_asked_whether_it_accepts_the_token(
    office: Office, machine: Machine
) -> None:
    code = await office.issue()
    plan = await machine.join(code)
    joining = machine.joining(code)

    accepted = await asyncio.to_thread(joining.refusal, plan.token_file, plan.authority_file)
    await office.running.enrolment.revoke(AgentName("0042", "till-1"), audit_by())
    revoked = await asyncio.to_thread(joining.refusal, plan.token_file, plan.authority_file)

    assert accepted == ""
    assert "head office rejects the credentials" in revoked


@pytest.mark.parametrize(
    ("edit", "found"),
    [
        (("unnamed-store", "0043"), 'store_id is "0043", and the code is for "0042"'),
        (("unnamed-till", "till-2"), 'till_id is "till-2"'),
        (('url = ""', 'url = "https://other.example.com"'), "central.url is https://other"),
    ],
)
async def test_machine_of_another_store_is_found(
    office: Office, machine: Machine, edit: tuple[str, str], found: str
) -> None:
    code = await office.issue()
    machine.config.write_text(EXAMPLE.replace(*edit))

    (said,) = joined_elsewhere(code, machine.joining(code).place.settings)

    assert found in said


async def test_machine_that_replays_to_a_platform_is_found_and_changed_by_force(
    office: Office, machine: Machine
) -> None:
    code = await office.issue()
    replaying = f'url = "{office.url}"\nprotocol = "replay"'
    machine.config.write_text(EXAMPLE.replace('url = ""', replaying))
    (said,) = joined_elsewhere(code, machine.joining(code).place.settings)

    await machine.join(code)

    assert said == 'central.protocol is "replay", and the code is for "batch"'
    assert 'protocol = "batch"' in machine.config.read_text()


def test_new_installation_and_the_same_name_have_joined_nobody_else(machine: Machine) -> None:
    code = JoinCode("0042", "till-1", "https://hq.example.com", "S" * 25)
    assert not [*joined_elsewhere(code, machine.joining(code).place.settings)]

    same = EXAMPLE.replace("unnamed-store", "0042").replace('url = ""', f'url = "{code.url}/"')
    machine.config.write_text(same)

    assert not [*joined_elsewhere(code, machine.joining(code).place.settings)]


def test_torn_record_is_begun_again(tmp_path: Path) -> None:
    code = JoinCode("0042", "till-1", "https://hq.example.com", "S" * 25)
    token = TokenFile(tmp_path / "credentials" / "token", is_credential=True, owner="nobody")
    token.begin(code, "digest")
    token.record_path.write_bytes(b'{"code":"dig')

    record = token.begin(code, "digest")

    assert hash_token(record.token) == record.token_hash
    assert files.TokenFile(token.path, is_credential=True, owner="").begin(code, "digest") == record

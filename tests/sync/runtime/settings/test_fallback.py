"""Access after a fall-back: no more than the rejected and the last configuration both allow."""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import pytest

from agent.config import Settings
from agent.config.settings import ACCESS as AGENT_ACCESS
from sync.receiver.config import ACCESS as HQ_ACCESS
from sync.receiver.config import ReceiverSettings
from sync.runtime.settings.fallback import AccessPaths, Fallback, narrow
from sync.runtime.settings.last_working import LastWorking
from sync.runtime.settings.load import load
from sync.runtime.settings.readable import read_as_far_as_possible
from sync.runtime.settings.schema import SettingsTree
from sync.runtime.settings.secret_files import find_file_errors
from sync.runtime.settings.setting_errors import ConfigurationError
from tests.support.certificates import make_certificate

Tree = TypeVar("Tree", bound=SettingsTree)
TOKEN = "0123456789abcdef" * 4
LOOPBACK = "127.0.0.1"
EVERY = "0.0.0.0"  # noqa: S104 - nothing is bound
TLS = 'tls_cert_file = "cert.pem"\ntls_key_file = "key.pem"\n'
LOST_TLS = TLS.replace("cert.pem", "absent.pem")
GUARDED = f'token_file = "token"\n{TLS}'
NETWORK = f'[api]\nhost = "0.0.0.0"\nallowed_hosts = ["a", "b"]\n{GUARDED}'
PROXIED = '[server]\nhost = "0.0.0.0"\nbehind_proxy = true\n'


class Place:
    """A directory with tokens and a certificate, for two configurations."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._file = directory / "config.toml"
        self._environ = {"STATE_DIRECTORY": str(directory / "state")}
        for name in ("token", "other"):
            (directory / name).write_text(name + TOKEN)
        make_certificate(directory)

    def agent(self, last: str, present: str, **variables: str) -> Fallback[Settings]:
        return self._narrow(Settings, AGENT_ACCESS, last, present, variables)

    def head_office(self, last: str, present: str) -> Fallback[ReceiverSettings]:
        return self._narrow(ReceiverSettings, HQ_ACCESS, last, present, {})

    def _narrow(
        self,
        model: type[Tree],
        access: AccessPaths,
        last: str,
        present: str,
        variables: Mapping[str, str],
    ) -> Fallback[Tree]:
        before = load(model, self._file, self._environ, last)
        assert not find_file_errors(before), "it worked"
        environ = {**self._environ, **variables}
        read = read_as_far_as_possible(model, self._file, environ, present)
        assert read is not None
        found = narrow(before, read, access)
        assert found is not None
        return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("place"))


@pytest.mark.parametrize(
    ("present", "host"),
    [
        ("", LOOPBACK),
        ('[api]\nhost = "127.0.0.1"\n', LOOPBACK),
        (f'[api]\nhost = "192.0.2.1"\n{GUARDED}', "192.0.2.1"),
        (f'[api]\nhost = "not an address"\n{GUARDED}', EVERY),
        ('[api]\nhost = "0.0.0.0"\n', EVERY),
        (f'[api]\nhots = "127.0.0.1"\n{GUARDED}', LOOPBACK),
        ('[store]\nstore_id = "0042', EVERY),
    ],
    ids=[
        "absent",
        "loopback",
        "one address",
        "wrong",
        "open without guards",
        "mistyped",
        "cut off",
    ],
)
def test_agent_listens_on_no_address_that_the_rejected_configuration_closes(
    place: Place, present: str, host: str
) -> None:
    found = place.agent(NETWORK, f"{present}\n")
    assert found.settings.api.host == host
    assert found.settings.api.token_file == place.directory / "token"
    assert found.settings.api.tls_cert_file == place.directory / "cert.pem"


def test_two_different_addresses_leave_loopback(place: Place) -> None:
    last, present = (f'[api]\nhost = "192.0.2.{n}"\n{GUARDED}' for n in (1, 2))
    assert place.agent(last, present).settings.api.host == LOOPBACK


def test_host_names_and_origins_are_those_of_both(place: Place) -> None:
    found = place.agent(NETWORK, f"{NETWORK.replace('a', 'c')}no_such_setting = 1\n")
    assert found.settings.api.allowed_hosts == ("b",)
    assert found.changed == ("api.allowed_hosts",)


def test_variable_closes_as_the_file_does(place: Place) -> None:
    found = place.agent(NETWORK, NETWORK, LOYALTY_AGENT__API__ALOWED_HOSTS="b")
    assert found.settings.api.allowed_hosts == ("b",)


def test_changed_token_is_the_new_one(place: Place) -> None:
    found = place.agent(NETWORK, NETWORK.replace('"token"', '"other"'))
    assert found.settings.api.token_file == place.directory / "other"


def test_token_that_is_missing_leaves_the_old_one(place: Place) -> None:
    found = place.agent(NETWORK, NETWORK.replace('"token"', '"absent"'))
    assert found.settings.api.token_file == place.directory / "token"
    assert found.lost_guards == ()


def test_certificate_that_is_new_and_usable_is_used(place: Place) -> None:
    found = place.agent("", f"[api]\n{TLS}no_such_setting = 1\n")
    assert found.settings.api.tls_key_file == place.directory / "key.pem"


@pytest.mark.parametrize(
    "guard", ['token_file = "absent"', LOST_TLS, 'admin_token_file = "absent"']
)
def test_guard_that_cannot_be_used_is_named(place: Place, guard: str) -> None:
    found = place.agent("", f"[api]\n{guard}\n")
    assert found.lost_guards == (f"api.{guard.partition(' ')[0]}",)


def test_head_office_without_its_certificate_is_not_open_to_the_network(place: Place) -> None:
    """Agents keep their events; tokens and addresses must not be sent in the clear."""
    assert place.head_office(PROXIED, PROXIED).settings.server.host == EVERY
    for guard in (TLS, LOST_TLS):
        found = place.head_office(PROXIED, f'[server]\nhost = "0.0.0.0"\n{guard}')
        is_open = guard == TLS
        assert found.settings.server.host == (EVERY if is_open else LOOPBACK)
        assert not found.settings.server.behind_proxy


def test_proxy_that_the_rejected_configuration_does_not_trust_is_not_believed(place: Place) -> None:
    last = '[access]\ntrusted_proxies = ["192.0.2.1"]\ntrusted_proxy_header = "X-User"\n'
    access = place.head_office(last, "[access]\ntrusted_proxies = []\n").settings.access
    assert (access.trusted_proxies, access.trusted_proxy_header) == ((), "")


def test_readers_on_this_machine_need_a_token_again(place: Place) -> None:
    last = "[access]\nopen_on_loopback = true\n"
    assert not place.head_office(last, "[log]\nlevl = 1\n").settings.access.open_on_loopback


BEHIND_PROXY = '[server]\nhost = "{}"\nbehind_proxy = true\n# Caf\xe9\n'
CLOSED = {"LOYALTY_HQ__SERVER__HOST": LOOPBACK}


@pytest.mark.parametrize(
    ("present", "variables", "host"),
    [
        (BEHIND_PROXY.format(EVERY).encode("latin-1"), {}, EVERY),
        (BEHIND_PROXY.format(LOOPBACK).encode("latin-1"), {}, LOOPBACK),
        (BEHIND_PROXY.format(EVERY).encode("latin-1"), CLOSED, LOOPBACK),
        (None, {}, EVERY),
        (None, CLOSED, LOOPBACK),
        (b'[server]\nbehind_proxy = true\n[store]\nid = "0042', CLOSED, LOOPBACK),
    ],
    ids=[
        "not UTF-8",
        "not UTF-8, closes",
        "not UTF-8, variable closes",
        "missing",
        "missing, variable closes",
        "cut off, variable closes",
    ],
)
def test_file_that_cannot_be_read_closes_no_more_than_it_says(
    tmp_path: Path, present: bytes | None, variables: Mapping[str, str], host: str
) -> None:
    """One letter of another encoding in a comment must not cut all stores off from head office."""
    file, state = tmp_path / "config.toml", str(tmp_path)
    file.write_text(BEHIND_PROXY.format(EVERY))
    working = LastWorking(ReceiverSettings, file, {"STATE_DIRECTORY": state}, state)
    working.settings()
    working.save()
    file.unlink()
    if present is not None:
        file.write_bytes(present)
    rejected = LastWorking(ReceiverSettings, file, {"STATE_DIRECTORY": state, **variables}, state)
    with pytest.raises(ConfigurationError):
        rejected.settings()

    found = rejected.recall(HQ_ACCESS)

    assert found is not None
    assert found.settings.server.host == host

"""Head office over TLS with a private authority, in the test's process, and machines that join."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.config import load_settings
from agent.joining.files import read_configuration
from agent.joining.join import Joining, token_setting
from agent.joining.plan import Place, Plan
from agent.joining.registration import HeadOffice
from sync.protocol.join_code import JoinCode, make_secret
from sync.receiver.auth.authority import read_authority
from sync.receiver.auth.join_codes import NewCode
from sync.receiver.auth.tokens import AgentName, EnrolledAgent
from sync.receiver.service import RunningReceiver, running_receiver
from tests.support.certificates import make_authority
from tests.support.head_office.audit import audit_by
from tests.support.head_office.messages import AT
from tests.support.head_office.receiver import settings_in

EXAMPLE = """\
# The till at the entrance.
[store]
store_id = "unnamed-store"  # set by join
till_id = "unnamed-till"

[api]
port = 8481

[central]
url = ""
# ca_file = "/etc/loyalty-agent/central-ca.pem"

[central.auth]
kind = "none"
# token_file = "credential:central-token"
"""


@dataclass(frozen=True, slots=True)
class Office:
    """A running head office."""

    running: RunningReceiver
    authority_mark: str

    @property
    def url(self) -> str:
        """The URL by which machines reach it."""
        return f"https://{self.running.host}:{self.running.port}"

    async def issue(self, till_id: str = "till-1", secret: bytes = b"s" * 16) -> JoinCode:
        """Return a join code of a till."""
        code = JoinCode("0042", till_id, self.url, make_secret(secret), self.authority_mark)
        new = NewCode(AgentName(code.store_id, code.till_id), code.secret)
        await self.running.join_codes.issue([new], AT, audit_by())
        return code

    async def accepts(self, token: str) -> EnrolledAgent | None:
        """Return the enrolled agent with this token; None if there is none."""
        return await self.running.enrolment.authenticate(token, AT)


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    """Head office at AT, with a certificate of an authority that no machine trusts yet."""
    made = make_authority(tmp_path / "tls")
    served = made.served
    server = {"port": 0, "tls_cert_file": served.cert_file, "tls_key_file": served.key_file}
    settings = settings_in(tmp_path / "hq", server=server)
    authority = read_authority(made.cert_file)
    async with running_receiver(settings, now=lambda: AT) as running:
        await running.join_codes.add_authority(authority.mark, authority.certificate, AT)
        yield Office(running, authority.mark)


@dataclass(frozen=True, slots=True)
class Machine:
    """A POS machine with its configuration file."""

    config: Path
    is_service: bool = True

    @property
    def token_file(self) -> Path:
        """The file from which systemd passes the token."""
        return self.config.with_name("credentials") / "central-token"

    @property
    def token(self) -> str:
        """The token."""
        return self.token_file.read_text().strip()

    @property
    def environ(self) -> Mapping[str, str]:
        """The variables of the service."""
        return {
            "STATE_DIRECTORY": str(self.config.with_name("state")),
            "CREDENTIALS_DIRECTORY": str(self.config.with_name("credentials")),
        }

    def joining(self, code: JoinCode) -> Joining:
        """Return the join with this code."""
        settings = load_settings(self.config, self.environ)
        setting = token_setting(read_configuration(self.config))
        place = Place(self.config, settings, setting, is_service=self.is_service)
        return Joining(code, place, "nobody", self.environ)

    async def join(
        self,
        code: JoinCode,
        *,
        patience_seconds: float = 0.0,
        show: Callable[[str], None] = lambda _: None,
    ) -> Plan:
        """Join in a thread, as the command does in its own process."""
        joining = self.joining(code)
        head_office = HeadOffice(code, joining.place.settings, patience_seconds)
        return await asyncio.to_thread(joining.run, head_office, show)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine with the settings of a new installation."""
    config = tmp_path / "etc" / "config.toml"
    config.parent.mkdir()
    config.write_text(EXAMPLE)
    return Machine(config)

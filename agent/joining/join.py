"""The steps of a join, in their order; each is durable before the next one."""

import asyncio
import tomllib
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile

from agent.config import load_settings
from agent.joining.files import (
    TokenFile,
    join_lock,
    read_configuration,
    replace_configuration,
    restored_on_failure,
    write_authority,
)
from agent.joining.plan import Place, Plan, digest_of, plan_join
from agent.joining.registration import HeadOffice, RegistrationError
from sync.protocol.join_code import JoinCode
from sync.runtime.settings.toml_edit import set_texts


@dataclass(frozen=True, slots=True)
class Joining:
    """A join of this machine. `owner`: the service's user; `environ`: the service's variables."""

    code: JoinCode
    place: Place
    owner: str
    environ: Mapping[str, str]

    def run(self, head_office: HeadOffice, show: Callable[[str], None]) -> Plan:
        """Register this machine and write its settings; return the plan that was carried out.

        All local steps that can fail come before the use of the code. Raises `OSError`,
        `TomlEditError`, `ConfigurationError`, `RegistrationError`, `JoinInProgressError` and
        `ConfigurationChangedError`.
        """
        plan = plan_join(self.code, self.place)
        with join_lock(self.place.directory):
            before = read_configuration(self.place.config)
            after = set_texts(before, plan.values)
            self._check(after)
            token = TokenFile(plan.token_file, plan.is_credential, self.owner)
            with ExitStack() as unused:
                # The agent goes on as before: it needs the authority that it has.
                unused.enter_context(restored_on_failure(plan.authority_file))
                unused.enter_context(
                    restored_on_failure(
                        token.record_path, unless=lambda: head_office.may_have_registered
                    )
                )
                record = token.begin(self.code, digest_of(self.code))
                ca_file = self._authority(head_office, plan, show)
                show("Registering at head office")
                asyncio.run(head_office.register(record.token_hash, ca_file))
            show("Writing the settings")
            token.finish(record)
            replace_configuration(self.place.config, before, after)
        return plan

    def refusal(self, token_file: Path, ca_file: Path | None) -> str:
        """Send one request with the token; return why it is refused, empty if it is accepted."""
        head_office = HeadOffice(self.code, self.place.settings, patience_seconds=0)
        try:
            token = token_file.read_text("ascii").strip()
            asyncio.run(head_office.check(token, ca_file))
        except (RegistrationError, OSError) as error:
            return str(error)
        return ""

    def _authority(
        self, head_office: HeadOffice, plan: Plan, show: Callable[[str], None]
    ) -> Path | None:
        """Return the file with the authority to trust; None: the system's authorities."""
        if plan.authority_file is None:
            return self.place.settings.central.ca_file
        show("Checking head office's certificate")
        write_authority(plan.authority_file, asyncio.run(head_office.fetch_authority()))
        return plan.authority_file

    def _check(self, text: str) -> None:
        """Load the new settings from a file in their directory, which relative paths start from."""
        directory = self.place.directory
        with NamedTemporaryFile(dir=directory, prefix=".join.", suffix=".toml") as file:
            file.write(text.encode())
            file.flush()
            load_settings(Path(file.name), self.environ)


def token_setting(text: str) -> str:
    """Return `central.auth.token_file` as it stands in the configuration; empty: not set."""
    table: object = tomllib.loads(text.removeprefix("\ufeff"))
    for name in ("central", "auth", "token_file"):
        table = table.get(name, "") if isinstance(table, dict) else ""
    return table if isinstance(table, str) else ""

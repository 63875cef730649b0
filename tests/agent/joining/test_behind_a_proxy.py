"""A machine joins through a proxy with a password, and is told what the proxy refuses."""

import pytest

from agent.joining.registration import RegistrationError
from tests.agent.joining.conftest import EXAMPLE, Machine, Office
from tests.support.central.proxy import PasswordProxy

PASSWORD = "s3cret"  # noqa: S105 - a test value


def behind(machine: Machine, proxy: PasswordProxy, *, user: str = "pos") -> Machine:
    """Configure the proxy, with the password if a user is given."""
    lines = [f'proxy = "{proxy.url}"']
    if user:
        machine.config.with_name("password").write_text(PASSWORD + "\n")
        lines += [f'proxy_user = "{user}"', 'proxy_password_file = "password"']
    central = "\n".join(["[central]", *lines])
    machine.config.write_text(EXAMPLE.replace("[central]", central, 1))
    return machine


async def test_join_goes_through_a_proxy_with_a_password(office: Office, machine: Machine) -> None:
    async with PasswordProxy(f"pos:{PASSWORD}") as proxy:
        await behind(machine, proxy).join(await office.issue())
    assert await office.accepts(machine.token) is not None
    assert len(proxy.heads) == 2  # the authority, the registration


@pytest.mark.parametrize(
    ("user", "said"),
    [("", "the proxy wants a user and a password"), ("pos", "the proxy rejects the user")],
)
async def test_refusal_of_a_proxy_is_told_and_nothing_is_written(
    office: Office, machine: Machine, user: str, said: str
) -> None:
    async with PasswordProxy("other:word") as proxy:
        with pytest.raises(RegistrationError, match=said) as told:
            await behind(machine, proxy, user=user).join(await office.issue())
    assert "proxy_password_file" in str(told.value)
    assert PASSWORD not in str(told.value)
    assert not machine.token_file.exists()

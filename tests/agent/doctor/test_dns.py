"""DNS check."""

from yarl import URL

from agent.doctor.check import Verdict
from agent.doctor.dns import DnsLookup, check_dns, resolve_host


async def test_name_of_this_machine_is_resolved() -> None:
    lookup = await resolve_host(URL("https://localhost:443"), 10)

    assert lookup is not None
    assert "127.0.0.1" in lookup.addresses
    assert check_dns(lookup).verdict is Verdict.PASS


async def test_ip_address_needs_no_dns() -> None:
    assert check_dns(await resolve_host(URL("https://[::1]:443"), 10)).verdict is Verdict.PASS


async def test_dns_lookup_has_a_timeout() -> None:
    lookup = await resolve_host(URL("https://localhost:443"), 0)

    assert check_dns(lookup).verdict is Verdict.FAULT
    assert "no response within 0 s" in check_dns(lookup).found


def test_unknown_name_is_a_fault() -> None:
    check = check_dns(DnsLookup("hq.example", reason="Name or service not known"))

    assert check.verdict is Verdict.FAULT
    assert "hq.example cannot be resolved (Name or service not known)" in check.found

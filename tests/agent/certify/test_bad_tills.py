"""Tills with bad manners are certified: each bad manner is named, with words that help."""

import shlex
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from agent.certify.judgement import Judgement, RuleFinding, TillVerdict, overall
from agent.certify.run import Certification
from agent.certify.situation_faults import SituationFaults
from agent.certify.situations import SITUATIONS, SaleLimits
from agent.certify.tested_till import CommandTill
from agent.sandbox.fault_proxy import FaultProxy
from agent.sandbox.running_sandbox import listen_on
from tests.support.agent.in_process import agent_under_test, settings_in
from tests.support.patience import PATIENCE_SECONDS

pytestmark = pytest.mark.process
KEYS = {one.key: one for one in SITUATIONS}
LIMITS = SaleLimits(answer_seconds=2.0)
# Only in these situations a till gets no answer in time, and only there its time-out counts.
UNANSWERED = {"silent", "slow"}
TILLS = Path(__file__).with_name("ill_mannered_till.py")
Certify = Callable[..., Awaitable[Judgement]]


@pytest.fixture
async def certify(tmp_path: Path) -> AsyncIterator[Certify]:
    """Return a function that certifies a till in one situation, before an agent of this process."""
    async with agent_under_test(settings_in(tmp_path / "state")) as agent:

        async def certify(manner: str, *keys: str) -> Judgement:
            faults, sockets = SituationFaults(LIMITS), listen_on(0)
            proxy = FaultProxy(agent.address.port, faults, no_restart)
            await proxy.open(sockets)
            url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
            time_out = 1.0 if UNANSWERED & set(keys) else PATIENCE_SECONDS
            command = f"{sys.executable} {shlex.quote(str(TILLS))} {manner} {time_out} {{url}}"
            till = CommandTill(command, url, LIMITS)
            try:
                certification = Certification(till, faults, proxy, LIMITS)
                return (await certification.run([KEYS[key] for key in keys], ignore))[-1]
            finally:
                await proxy.close()

        yield certify


async def no_restart() -> None:
    raise AssertionError("this agent cannot restart")


def ignore(_judgement: Judgement) -> None:
    pass


def failures(judgement: Judgement) -> dict[str, RuleFinding]:
    return {one.rule: one for one in judgement.findings if one.verdict is TillVerdict.FAILED}


@pytest.mark.parametrize("key", [key for key in KEYS if key not in {"correction", "restart"}])
async def test_a_till_of_good_manners_passes(certify: Certify, key: str) -> None:
    judgement = await certify("good", key)

    assert (judgement.verdict, failures(judgement)) == (TillVerdict.PASSED, {})


@pytest.mark.parametrize(
    ("manner", "key", "rule", "found", "advice"),
    [
        ("changes-id", "session-lost", "id", "changed its correlationId", "same id and body"),
        ("changes-body", "unavailable", "body", "changed the body", "Make the body once"),
        ("no-time-out", "silent", "time-out", "no time-out", "Set time-outs"),
        ("no-time-out", "slow", "time-out", "no time-out", "Set time-outs"),
        ("stops-the-sale", "full", "sale", "stopped the sale", "sell without loyalty"),
        ("stops-the-sale", "refused", "sale", "exit code 1", "sell without loyalty"),
        ("hammers", "full", "attempts", "40 session calls", "two attempts"),
        ("gives-up-at-once", "reset", "repeat", "did not repeat", "send the same request"),
    ],
)
async def test_a_bad_manner_is_named_with_words_that_help(
    certify: Certify, manner: str, key: str, rule: str, found: str, advice: str
) -> None:
    judgement = await certify(manner, key)

    failed = failures(judgement)
    assert list(failed) == [rule]
    assert found in failed[rule].text
    assert advice in failed[rule].advice


async def test_a_till_with_one_id_for_all_sales_is_named(certify: Certify) -> None:
    judgement = await certify("one-id-for-all", "sale", "sale")

    assert failures(judgement)["id"].text == "The till used the correlationId of an earlier sale."


async def test_what_is_not_seen_is_no_pass(certify: Certify) -> None:
    judgement = await certify("gives-up-at-once", "email-lost")
    nothing = Judgement(KEYS["sale"], (RuleFinding("request", TillVerdict.NOT_SEEN, ""),))

    assert judgement.verdict is TillVerdict.FAILED
    assert overall([nothing]) is TillVerdict.NOT_SEEN
    assert overall([Judgement(KEYS["correction"], nothing.findings)]) is TillVerdict.NOT_SEEN

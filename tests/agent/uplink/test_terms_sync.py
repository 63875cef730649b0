"""Learned program terms: stored, bounded, restored at start."""

import asyncio
import json
import logging
from pathlib import Path

import msgspec
import pytest

from agent.capture.session_answer import MAX_LEARNED, SessionAnswers
from agent.store.learned_terms import LearnedTerms, keep_terms, read_terms
from agent.uplink.terms_sync import ProgramTermsSync
from sync.delivery.outbox import OutboxUnavailable
from sync.delivery.outcomes import Blocked, BlockedReason, FailureCause, RetryLater
from sync.delivery.transports.batch.control_requests import NewTerms
from sync.protocol.program_terms import (
    Messages,
    ProgramTerms,
    RedemptionLimits,
    RedemptionRules,
    SessionKind,
    SessionTerms,
    session_kind,
)
from sync.protocol.terms_check import TermsFault
from sync.runtime.settings.program import ProgramSettings
from tests.support.agent.outbox import OutboxRig, outbox_on

LIMITS = dict.fromkeys(RedemptionLimits.__struct_fields__, 1)
OBSERVED = SessionTerms(
    prompt="EMAIL",
    prompt_message="Join?",
    receipt_message="Join.",
    redemption_rules=RedemptionRules(**LIMITS, currency="CAD"),
)


def terms_sync_on(
    rig: OutboxRig, version: str = "0.1.0"
) -> tuple[ProgramTermsSync, SessionAnswers]:
    answers = SessionAnswers(ProgramSettings().terms())
    return ProgramTermsSync(answers, rig.outbox.access, rig.clock, version), answers


PROGRAM = ProgramTerms(
    locale="en-CA",
    currency="CAD",
    prompt="EMAIL",
    rules=RedemptionLimits(**LIMITS),
    messages={"en-CA": Messages(prompt="Programme?", anonymous_prompt="", receipt="")},
)


async def kept_sources(rig: OutboxRig) -> list[str]:
    await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()})
    return [one.source for one in await rig.outbox.access.write(read_terms)]


@pytest.mark.parametrize("word", ["channel", "locale"])
async def test_number_of_stored_terms_is_bounded_for_arbitrary_words_of_tills(
    tmp_path: Path, word: str
) -> None:
    async with outbox_on(tmp_path) as rig:
        terms_sync, _ = terms_sync_on(rig)
        for number in range(MAX_LEARNED + 10):
            members = {"channel": "STORE"} | {word: f"word-{number}"}
            terms_sync.observe(session_kind(members, None), OBSERVED)

        assert len(await kept_sources(rig)) == (MAX_LEARNED if word == "channel" else 1)


@pytest.mark.parametrize("word", ["channel", "locale"])
async def test_learned_terms_never_store_an_address_in_channel_or_locale(
    tmp_path: Path, word: str
) -> None:
    async with outbox_on(tmp_path) as rig:
        terms_sync, _ = terms_sync_on(rig)
        terms_sync.observe(session_kind({word: "guest@example.com"}, None), OBSERVED)

        assert not [one for one in await kept_sources(rig) if "guest" in one]


async def test_latest_terms_win_after_a_change_of_protocol(
    tmp_path: Path,
) -> None:
    kind = SessionKind("STORE", None, is_anonymous=False)
    async with outbox_on(tmp_path) as rig:
        terms_sync, answers = terms_sync_on(rig)
        terms_sync.observe(kind, OBSERVED)
        await kept_sources(rig)
        rig.clock.pass_seconds(1)
        await terms_sync.adopt(PROGRAM, None)
        again, answers_again = terms_sync_on(rig)
        await again.restore_when_open()

    for one in (answers, answers_again):
        assert json.loads(one.answer("id", kind))["promptMessage"] == "Programme?"


async def test_terms_stored_by_an_earlier_version_for_an_empty_channel_are_used(
    tmp_path: Path,
) -> None:
    source = 'answer:{"channel":"","locale":null,"is_anonymous":false}'
    stored = LearnedTerms(source, msgspec.json.encode(OBSERVED).decode())
    async with outbox_on(tmp_path) as rig:
        await rig.outbox.access.write(lambda session: keep_terms(session, stored, 1))
        terms_sync, answers = terms_sync_on(rig)
        await terms_sync.restore_when_open()

    answer = answers.answer("id", session_kind({"channel": ""}, None))
    assert json.loads(answer)["promptMessage"] == OBSERVED.prompt_message


async def test_stored_terms_of_another_version_are_skipped_without_logging_the_channel(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = 'answer:{"channel":"guest@example.com","of":"the future"}'
    async with outbox_on(tmp_path) as rig:
        await rig.outbox.access.write(
            lambda session: keep_terms(session, LearnedTerms(source, "{}"), 1)
        )
        terms_sync, _ = terms_sync_on(rig)

        with caplog.at_level(logging.WARNING):
            await terms_sync.restore_when_open()

    (record,) = [one for one in caplog.records if one.message == "terms.invalid"]
    assert record.__dict__["fields"] == {"source": "answer"}


async def test_etag_of_terms_adopted_by_another_version_is_not_sent(tmp_path: Path) -> None:
    """It may have left out members that this version understands: 304 would hide them for ever."""
    async with outbox_on(tmp_path) as rig:
        before, _ = terms_sync_on(rig, version="0.9.0")
        await before.adopt(PROGRAM, '"one"')
        same, _ = terms_sync_on(rig, version="0.9.0")
        await same.restore_when_open()
        later, _ = terms_sync_on(rig, version="1.0.0")
        await later.restore_when_open()
    assert before.known_etag == same.known_etag == '"one"'
    assert later.known_etag is None


async def test_etag_is_that_of_the_terms_in_use_even_if_they_could_not_be_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with outbox_on(tmp_path) as rig:
        terms_sync, _ = terms_sync_on(rig)
        await terms_sync.adopt(PROGRAM, '"one"')
        with monkeypatch.context() as fault:
            fault.setattr(rig.outbox.access, "write", unavailable)
            with pytest.raises(OutboxUnavailable):
                await terms_sync.adopt(PROGRAM, '"two"')
    assert terms_sync.known_etag == '"two"'


async def test_terms_that_were_refused_are_still_reported_after_a_restart(tmp_path: Path) -> None:
    fault = TermsFault("prompt", "contains a control character")
    async with outbox_on(tmp_path) as rig:
        terms_sync, _ = terms_sync_on(rig)
        await terms_sync.on_fetched(fault)
        again, _ = terms_sync_on(rig)
        await again.restore_when_open()
        assert again.refused == fault
        await again.on_fetched(NewTerms(None, PROGRAM))
        last, _ = terms_sync_on(rig)
        await last.restore_when_open()
    assert last.refused is None


async def test_terms_not_fetched_for_a_day_are_reported_with_the_cause(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    down = RetryLater(FailureCause.SERVER_ERROR, "of no interest", http_status=500)
    async with outbox_on(tmp_path) as rig:
        terms_sync, _ = terms_sync_on(rig)
        await terms_sync.on_fetched(NewTerms(None, PROGRAM))
        await terms_sync.on_fetched(down)
        assert terms_sync.not_fetched is None
        rig.clock.pass_seconds(25 * 3600)
        await terms_sync.on_fetched(down)
        await terms_sync.on_fetched(down)
        again, _ = terms_sync_on(rig)
        await again.restore_when_open()
        await again.on_fetched(down)
        missed = again.not_fetched
        assert missed is not None
        assert missed.reason == "head office failed (HTTP 500)"
        assert missed.since_us is not None
        await again.on_fetched(None)
        assert again.not_fetched is None
    assert caplog.messages.count("terms.not_fetched") == 2


async def test_terms_stored_by_an_earlier_version_are_not_said_to_be_never_fetched(
    tmp_path: Path,
) -> None:
    """It recorded no fetch."""
    down = RetryLater(FailureCause.SERVER_ERROR, "of no interest", http_status=500)
    async with outbox_on(tmp_path) as rig:
        terms_sync, _ = terms_sync_on(rig)
        await terms_sync.on_fetched(NewTerms(None, PROGRAM))
        await rig.outbox.access.write_hot(lambda one: one.execute("DELETE FROM terms_fetch"))
        again, _ = terms_sync_on(rig)
        await again.restore_when_open()
        await again.on_fetched(down)
        assert again.not_fetched is None
        rig.clock.pass_seconds(25 * 3600)
        missed = again.not_fetched
    assert missed is not None
    assert missed.since_us is not None


async def test_terms_that_were_never_fetched_are_reported_at_once(tmp_path: Path) -> None:
    async with outbox_on(tmp_path) as rig:
        terms_sync, _ = terms_sync_on(rig)
        assert terms_sync.not_fetched is None
        await terms_sync.on_fetched(Blocked(BlockedReason.NOT_FOUND, "of no interest", 404))
        missed = terms_sync.not_fetched
    assert missed is not None
    assert (missed.since_us, missed.reason) == (None, "endpoint not found (HTTP 404)")
    assert str(missed) == "never fetched: endpoint not found (HTTP 404)"


async def unavailable(*_: object) -> None:
    """Fail as a full disk does."""
    raise OutboxUnavailable("a planted fault")

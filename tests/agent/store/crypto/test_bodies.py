"""Stored bodies: encrypted if they may hold an address, restored byte for byte."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.facts import EmailAnswered, EmailStatus, SessionStarted
from agent.store.crypto.bodies import decrypt_body, encrypt_body
from agent.store.crypto.vault import KEY_BYTES, DecryptionError, Vault
from sync.delivery.outbox import OutboxEvent
from sync.protocol.wire import ErrorCode
from tests.support.agent.outbox import PLENTY, outbox_on
from tests.support.agent.store import (
    ADDRESS,
    KEY_FILE,
    answer,
    new,
    opened,
    query,
    record,
    repeat,
    session,
)

VAULT = Vault(bytes(range(KEY_BYTES)))
NAMED = SessionStarted(
    "one", None, closed=False, body=b'{"correlationId":"one","mail":"guest.one@example.com"}'
)
TWICE = replace(answer(), body=b'{"status":"accepted","email":"guest.one\\u0040example.com"}')
DECLINED = EmailAnswered(
    "one", EmailStatus.DECLINED, None, b'{"status":"declined","link":"?m=guest.one%40example.com"}'
)


@given(text=st.text(max_size=300), name=st.text(min_size=1, max_size=128))
def test_any_body_is_restored_unchanged(text: str, name: str) -> None:
    body = text.encode()

    assert decrypt_body(encrypt_body(b"{" + body, name, VAULT), name, lambda: VAULT) == b"{" + body


@given(local=st.text(max_size=30), domain=st.text(max_size=30))
def test_body_with_an_at_sign_is_encrypted(local: str, domain: str) -> None:
    for sign in ("@", "\\u0040", "%40"):
        body = f'{{"x":"{local}{sign}{domain}"}}'.encode()

        assert body not in encrypt_body(body, "one", VAULT)


def test_body_without_an_at_sign_is_stored_as_plain_text() -> None:
    body = b'{"correlationId":"one","channel":"STORE"}'

    assert encrypt_body(body, "one", VAULT) == body


def test_encrypted_body_decrypts_neither_as_an_address_nor_for_another_session() -> None:
    kept = encrypt_body(NAMED.body, "one", VAULT)

    with pytest.raises(DecryptionError):
        VAULT.decrypt(kept, "one")
    with pytest.raises(DecryptionError):
        decrypt_body(kept, "two", lambda: VAULT)


def test_address_repeated_in_other_members_is_not_readable_on_disk(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        record(store, NAMED, TWICE, DECLINED)

        files = [file.read_bytes() for file in tmp_path.iterdir() if file.is_file()]
        assert not [content for content in files if b"guest.one" in content]


@pytest.mark.parametrize("restarted", [False, True])
def test_repeat_of_an_encrypted_body_is_recognised_and_other_content_is_not(
    tmp_path: Path,
    restarted: bool,  # noqa: FBT001 - a case
) -> None:
    with opened(tmp_path) as store:
        assert record(store, NAMED, TWICE) == [new(1), new(2)]
        if not restarted:
            assert record(store, NAMED, TWICE) == [repeat(1), repeat(2)]
    with opened(tmp_path) as store:
        assert record(store, NAMED, TWICE) == [repeat(1), repeat(2)]
        assert record(store, answer(), DECLINED, DECLINED) == [new(3), new(4), repeat(4)]
        assert repeat(1) not in record(store, session())


async def test_encrypted_body_is_sent_unchanged_even_after_its_address_is_erased(
    tmp_path: Path,
) -> None:
    def sent(events: list[OutboxEvent]) -> list[bytes]:
        return [event.body for event in events]

    rest = TWICE.body[1:]
    async with outbox_on(tmp_path) as rig:
        await rig.capture(NAMED, TWICE, DECLINED)
        assert sent(list((await rig.window()).events)) == [
            NAMED.body,
            b'{"emailAddress":"%b",%b' % (ADDRESS.encode(), rest),
            DECLINED.body,
        ]
        await rig.deliver_all()
        await rig.outbox.retention.erase_once()
        await rig.outbox.rewind("epoch-1", 1)
        assert sent(list((await rig.window()).events)) == [
            NAMED.body,
            b'{"emailAddress":null,"erased":true,%b' % rest,
            DECLINED.body,
        ]


async def test_captures_of_a_lost_key_do_not_block_the_outbox_and_keep_their_addresses(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The key may come back: what it encrypted is not sent without its content before."""
    async with outbox_on(tmp_path) as rig:
        await rig.capture(NAMED, TWICE, DECLINED, session("two"), answer("two"))
    kept = (tmp_path / KEY_FILE).read_bytes()
    (tmp_path / KEY_FILE).unlink()

    async with outbox_on(tmp_path) as rig:
        await rig.capture(answer("two", "new@example.com"))
        events = (await rig.window()).events
        verdicts = [event.damage and event.damage.error_code for event in events]
        for event in events:
            if event.damage is None:
                await rig.deliver(event)
            else:
                await rig.refuse(event, verdict=event.damage)
        await rig.outbox.retention.erase_once()

    lost = ErrorCode.KEY_LOST
    assert verdicts == [lost, lost, lost, None, lost, None]
    assert b"new@example.com" in events[-1].body
    assert caplog.messages.count("outbox.decryption_failed") == 1

    (tmp_path / KEY_FILE).write_bytes(kept)
    async with outbox_on(tmp_path) as rig:
        await rig.outbox.dead_letters.retry_key_lost()
        retried = (await rig.outbox.next_retry_window(PLENTY)).events
    assert [event.damage for event in retried] == [None] * 4
    assert [ADDRESS.encode() in event.body for event in retried] == [True, True, False, True]


def test_plain_bodies_stay_readable_in_the_database(tmp_path: Path) -> None:
    """Salvage and support can read bodies that hold no address."""
    with opened(tmp_path) as store:
        record(store, session(), answer())

    assert query(tmp_path, "SELECT body FROM event ORDER BY position") == [
        (session().body,),
        (answer().body,),
    ]

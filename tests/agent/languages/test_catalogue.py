"""Languages of the agent: complete catalogues, good typography, the choice of one."""

import re
from string import Formatter

import pytest

from agent.api.status.view import Status
from agent.api.status.words import slug
from agent.languages.catalogue import language_of_request, language_of_terminal, languages
from agent.store.db import epochs, lost_captures
from agent.store.db.repair.epoch_table import EPOCHS_DAMAGED
from sync.delivery.outcomes import BlockedReason, FailureCause
from sync.protocol.wire import AHEAD, RENUMBERED
from sync.runtime.i18n import Language
from tests.support.processes import ROOT

ENGLISH, FRENCH = languages().values()
# Composed at runtime from a group and a value.
COMPOSED = (
    "captures",
    "cause",
    "capture_kind",
    "capture_state",
    "days",
    "dead_letters",
    "delivery",
    "figure",
    "letter",
    "lost",
    "page",
    "reason",
    "recording",
    "refused_code",
    "unset",
)
REASONS = (
    epochs.MARK_MISSING,
    epochs.STEPPED_BACK,
    epochs.SHARED_NAME,
    EPOCHS_DAMAGED,
    RENUMBERED,
    AHEAD,
    lost_captures.SET_ASIDE_BEFORE,
    lost_captures.END_UNKNOWN,
)


def messages(language: Language) -> dict[str, str]:
    return dict(language.messages)


def places(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def test_both_languages_have_the_same_messages_and_placeholders() -> None:
    english, french = (
        {name: places(text) for name, text in messages(one).items()} for one in (ENGLISH, FRENCH)
    )

    assert english == french


def test_no_message_is_left_in_english() -> None:
    same = {name for name, text in messages(ENGLISH).items() if messages(FRENCH)[name] == text}

    # Placeholders alone, and words that both languages share.
    shared = {"time", "figure.agent", "figure.version", "page.code", "page.action", "unset.none"}
    assert same <= shared


def test_no_message_is_unused() -> None:
    sources = [*(ROOT / "agent").rglob("*.py"), ROOT / "sync" / "runtime" / "i18n.py"]
    texts = "".join(source.read_text("utf-8") for source in sources)
    asked = set(re.findall(r"""["']([a-z_]+(?:\.[a-z_]+)*)["']""", texts))
    alone = {name for name in messages(ENGLISH) if name.partition(".")[0] not in COMPOSED}
    assert alone - asked == set()
    named = {f"{group}.{name}" for group in ("page", "figure") for name in asked}
    named |= {f"page.retry_{name}" for name in ("done", "token", "gone", "failed")}
    of_page = {name for name in messages(ENGLISH) if name.startswith(("page.", "figure."))}
    assert of_page - named - asked == set()


def test_french_has_its_no_break_spaces_and_addresses_nobody_familiarly() -> None:
    faults = {
        name: text
        for name, text in messages(FRENCH).items()
        if re.search(r"[^\u202f\u00a0][;?!]|[^\u00a0\d\w/]: | [:;?!]", text)
        or re.search(r"\b(tu|ton|ta|tes|toi)\b", text, re.IGNORECASE)
    }

    assert faults == {}


@pytest.mark.parametrize("cause", [*FailureCause, *BlockedReason])
def test_each_cause_of_a_failed_delivery_has_words_in_both_languages(cause: str) -> None:
    assert messages(ENGLISH)[f"cause.{slug(cause)}"] == cause
    assert messages(FRENCH)[f"cause.{slug(cause)}"] != cause


@pytest.mark.parametrize("reason", REASONS)
def test_each_reason_of_a_new_epoch_has_words_in_both_languages(reason: str) -> None:
    assert messages(ENGLISH)[f"reason.{slug(reason)}"] == reason
    assert messages(FRENCH)[f"reason.{slug(reason)}"] != reason


@pytest.mark.parametrize(
    ("variables", "code"),
    [
        ({}, "en"),
        ({"LANG": "C.UTF-8"}, "en"),
        ({"LANG": "POSIX"}, "en"),
        ({"LANG": "fr_CA.UTF-8"}, "fr"),
        ({"LANG": "fr"}, "fr"),
        ({"LANG": "tlh_XX"}, "en"),
        ({"LANG": "en_CA.UTF-8", "LC_MESSAGES": "fr_FR@euro"}, "fr"),
        ({"LC_ALL": "C", "LC_MESSAGES": "fr_FR", "LANG": "fr_FR"}, "en"),
        ({"LC_ALL": "", "LANG": "fr_CA.UTF-8"}, "fr"),
        ({"LANG": "../en"}, "en"),
    ],
)
def test_locale_chooses_the_language_of_the_terminal(variables: dict[str, str], code: str) -> None:
    assert language_of_terminal(variables).code == code


@pytest.mark.parametrize(("accepted", "code"), [("fr-CA, en;q=0.5", "fr"), ("", "en"), ("x", "en")])
def test_browser_chooses_the_language_of_the_page(accepted: str, code: str) -> None:
    assert language_of_request(accepted).code == code


@pytest.mark.parametrize(
    ("waiting", "text"),
    [
        (1, "La transmission au siège fonctionne. En attente\u00a0: 1 saisie."),
        (1_200, "La transmission au siège fonctionne. En attente\u00a0: 1\u202f200 saisies."),
    ],
)
def test_status_in_french_counts_by_the_rules_of_french(waiting: int, text: str) -> None:
    members = {"waiting": waiting, "storage": {"state": "ready"}, "sync": {"state": "idle"}}

    assert [one.text for one in Status(members, FRENCH).headlines()] == [
        "Les saisies sont enregistrées sur cette machine.",
        text,
    ]


def test_words_of_others_are_quoted_in_french_and_plain_in_english() -> None:
    sync = {"state": "retrying", "trouble": "no response", "detail": "timed out"}
    members = {"waiting": 1, "storage": {"state": "ready"}, "sync": sync}

    english, french = (list(Status(members, one).headlines())[1].text for one in (ENGLISH, FRENCH))

    assert "no response (timed out)" in english
    assert "pas de réponse («\u202ftimed out\u202f»)" in french

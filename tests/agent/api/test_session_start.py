"""*Start anonymous session*, as documented in `docs/till-api.md`."""

import json
import uuid
from pathlib import Path

import pytest

from sync.runtime.settings.program import (
    FrenchMessageSettings,
    LocaleSettings,
    MessageSettings,
    ProgramSettings,
    RuleSettings,
)
from tests.agent.api.conftest import StartAgent
from tests.support.agent.in_process import Agent, agent_under_test, settings_in

INVALID_ID = (
    b'{"statusCode":400,"errorMessage":"Invalid Correlation ID","errorCode":"INVALID_REQUEST"}'
)
PROGRAM = ProgramSettings(
    locale="en-CA",
    currency="CAD",
    prompt="REQUEST_EMAIL",
    rules=RuleSettings(
        min_redeem_points=1,
        min_redeem_amount=2.5,
        max_redeem_points=3,
        max_redeem_amount=4,
        redeem_increment_points=5,
        redeem_increment_amount=6,
    ),
    messages=LocaleSettings(
        en_ca=MessageSettings(prompt="ask ca", anonymous_prompt="points ca", receipt="print ca"),
        en_us=MessageSettings(prompt="ask us", anonymous_prompt="points us", receipt="print us"),
        fr_ca=FrenchMessageSettings(prompt="demandé", anonymous_prompt="gagné", receipt="imprimé"),
    ),
)


@pytest.fixture
async def agent(start_agent: StartAgent) -> Agent:
    return await start_agent(program=PROGRAM)


@pytest.fixture(scope="module")
def shared_sections() -> dict[str, object]:
    return {"program": PROGRAM}


@pytest.fixture
def new_id() -> str:
    """Return the id of a session that the shared agent does not have yet."""
    return str(uuid.uuid4())


async def test_answer_is_the_json_of_the_reference_compact_and_in_order(agent: Agent) -> None:
    answer = await agent.start_session({"correlationId": "5115314e-2a29-4e5e-af58-258f9f261716"})

    assert answer.status == 200
    assert answer.body == (
        b'{"loyaltyId":"anonymous","membershipType":"N","status":"NO_CARD",'
        b'"prompt":"REQUEST_EMAIL","isValid":true,"promptMessage":"ask ca",'
        b'"receiptMessage":"print ca","pointsBalance":0,"userMaxRedeemDollars":0,'
        b'"redemptionRules":{"minRedeemPoints":1,"minRedeemAmount":2.5,"maxRedeemPoints":3,'
        b'"maxRedeemAmount":4,"redeemIncrementPoints":5,"redeemIncrementAmount":6,'
        b'"currency":"CAD"},"sessionCorrelationId":"5115314e-2a29-4e5e-af58-258f9f261716",'
        b'"receiptPreference":"UNKNOWN"}'
    )
    assert answer.header("Content-Type") == "application/json; charset=utf-8"


async def test_empty_texts_are_returned_as_empty_strings(
    start_agent: StartAgent,
) -> None:
    silent = MessageSettings(prompt="", anonymous_prompt="", receipt="")
    agent = await start_agent(
        program=ProgramSettings(prompt="", messages=LocaleSettings(en_ca=silent))
    )

    members = (await agent.start_session({"correlationId": "x"})).members()

    shown = (members["prompt"], members["promptMessage"], members["receiptMessage"])
    assert shown == ("", "", "")


VALID_IDS = {
    "guid": "92a892ab-6caa-45a7-8774-65fbfb39d516",
    "one character": "7",
    "128 code points": "x" * 128,
    "128 code points beyond the BMP": "\U0001f600" * 128,
    "blanks around": " a b ",
    "slashes": "store/7/till/3",
    "percent": "100%",
    "what looks escaped": "%2F%00",
    "braces": "{}{correlation_id}",
    "three dots": "...",
    "dots and a slash": "../..",
    "accents": "Écran-é-ß",
    "quotes and backslash": "\"'\\",
    "markup": "<b>&amp;</b>",
    "query and fragment": "?a=b#c;d",
    "plus": "a+b",
    "line separator": "a\u2028b",
    "a word of the path": "anonymous",
}
IMPOSSIBLE_IDS = {
    "empty": "",
    "blank": " ",
    "no-break spaces": "\u00a0\u00a0",
    "ideographic space": "\u3000",
    "dot": ".",
    "dot dot": "..",
    "129 code points": "x" * 129,
    "129 code points beyond the BMP": "\U0001f600" * 129,
    "NUL": "a\u0000b",
    "tab": "a\tb",
    "newline at the end": "a\n",
    "last C0": "a\u001f",
    "DEL": "a\u007fb",
    "first C1": "a\u0080b",
    "NEL": "a\u0085b",
    "last C1": "a\u009fb",
}


@pytest.mark.parametrize("correlation_id", VALID_IDS.values(), ids=VALID_IDS)
async def test_valid_id_is_accepted_and_found_percent_encoded(
    shared_agent: Agent, correlation_id: str
) -> None:
    started = await shared_agent.start_session({"correlationId": correlation_id})
    answered = await shared_agent.set_email(correlation_id, {"status": "declined"})

    assert started.status == 200
    assert started.members()["sessionCorrelationId"] == correlation_id
    assert answered.status == 200


@pytest.mark.parametrize("correlation_id", IMPOSSIBLE_IDS.values(), ids=IMPOSSIBLE_IDS)
async def test_invalid_id_is_refused_and_not_recorded(
    shared_agent: Agent, correlation_id: str
) -> None:
    answer = await shared_agent.start_session({"correlationId": correlation_id})

    assert (answer.status, answer.body) == (400, INVALID_ID)
    assert shared_agent.bodies() == []


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"correlationId":null}',
        b'{"correlationId":7}',
        b'{"correlationId":true}',
        b'{"correlationId":["x"]}',
        b'{"correlationId":{"id":"x"}}',
        b'{"CorrelationId":"x"}',
        b'{"correlationId":"x","correlationId":null}',
    ],
)
async def test_missing_or_non_string_id_is_refused(shared_agent: Agent, body: bytes) -> None:
    answer = await shared_agent.start_session(body)

    assert (answer.status, answer.body, len(answer.body)) == (400, INVALID_ID, 88)


async def test_error_in_the_id_takes_precedence(shared_agent: Agent) -> None:
    answer = await shared_agent.start_session({"correlationId": "", "channel": 7})

    assert answer.body == INVALID_ID


LOCALES = [
    # query string, locale in the body, expected prompt
    ("", None, "ask ca"),
    ("", "en-CA", "ask ca"),
    ("", "en-US", "ask us"),
    ("", "fr-CA", "demandé"),
    ("", "FR-ca", "demandé"),
    ("", "fr_CA", "ask ca"),
    ("", "FR", "ask ca"),
    ("", "EN", "ask ca"),
    ("", "fr", "ask ca"),
    ("", "de-DE", "ask ca"),
    ("", "", "ask ca"),
    ("", " fr-CA", "ask ca"),
    ("", 7, "ask ca"),
    ("", True, "ask ca"),
    ("", ["fr-CA"], "ask ca"),
    ("", {"fr-CA": 1}, "ask ca"),
    ("?locale=fr-CA", None, "demandé"),
    ("?locale=FR-CA", None, "demandé"),
    ("?locale=fr%2DCA", None, "demandé"),
    ("?locale=fr-CA", "en-US", "demandé"),
    ("?locale=en-US", "fr-CA", "ask us"),
    ("?locale=FR", "en-US", "ask us"),
    ("?locale=", "en-US", "ask us"),
    ("?locale", "en-US", "ask us"),
    ("?locale=de-DE", None, "ask ca"),
    ("?locale=%FF", "en-US", "ask us"),
    ("?locale=de-DE&locale=fr-CA", "en-US", "demandé"),
    ("?Locale=fr-CA", "en-US", "ask us"),
    ("?other=fr-CA", None, "ask ca"),
]


@pytest.mark.parametrize(("query", "in_body", "prompt"), LOCALES)
async def test_first_valid_locale_of_query_body_and_configuration_is_used(
    shared_agent: Agent, new_id: str, query: str, in_body: object, prompt: str
) -> None:
    answer = await shared_agent.start_session({"correlationId": new_id, "locale": in_body}, query)

    assert (answer.status, answer.members()["promptMessage"]) == (200, prompt)


async def test_configured_locale_is_used_without_a_valid_one_in_the_request(
    start_agent: StartAgent,
) -> None:
    agent = await start_agent(program=PROGRAM.model_copy(update={"locale": "fr-CA"}))

    silent = await agent.start_session({"correlationId": "1"})
    wrong = await agent.start_session({"correlationId": "2", "locale": "EN"}, "?locale=EN")

    prompts = [answer.members()["promptMessage"] for answer in (silent, wrong)]
    assert prompts == ["demandé", "demandé"]


async def test_text_beyond_ascii_is_escaped(shared_agent: Agent) -> None:
    answer = await shared_agent.start_session({"correlationId": "Zoë", "locale": "fr-CA"})

    messages = rb'"promptMessage":"demand\u00e9","receiptMessage":"imprim\u00e9"'
    assert messages in answer.body
    assert rb'"sessionCorrelationId":"Zo\u00eb"' in answer.body


@pytest.mark.parametrize(
    ("anonymous", "prompt"),
    [("anything", "points us"), (" ", "points us"), ("", "ask us"), (None, "ask us")],
)
async def test_anonymous_session_id_selects_the_points_message(
    shared_agent: Agent, new_id: str, anonymous: str | None, prompt: str
) -> None:
    body = {"correlationId": new_id, "locale": "en-US", "anonymousSessionId": anonymous}

    members = (await shared_agent.start_session(body)).members()

    assert (members["promptMessage"], members["receiptMessage"]) == (prompt, "print us")


STRING_FIELDS = ["externalIdentifier", "channel", "anonymousSessionId", "userStatus"]


@pytest.mark.parametrize("field", STRING_FIELDS)
@pytest.mark.parametrize("value", [7, 1.5, True, False, ["STORE"], {"a": 1}, "a\u0000b"])
async def test_known_member_that_is_not_a_plain_string_is_refused_by_name(
    shared_agent: Agent, field: str, value: object
) -> None:
    answer = await shared_agent.start_session({"correlationId": "x", field: value})

    assert (answer.status, answer.members()["errorCode"]) == (400, "INVALID_REQUEST")
    assert field in str(answer.members()["errorMessage"])
    assert shared_agent.bodies() == []


@pytest.mark.parametrize("field", STRING_FIELDS)
@pytest.mark.parametrize("value", [None, "", "STORE", "\n", "é" * 500])
async def test_known_member_may_be_null_or_any_string(
    shared_agent: Agent, new_id: str, field: str, value: object
) -> None:
    answer = await shared_agent.start_session({"correlationId": new_id, field: value})

    assert answer.status == 200


@pytest.mark.parametrize(
    "body",
    [
        b'{"correlationId":"x","basket":[{"sku":"1","price":1.10}],"note":"caf\xc3\xa9"}',
        b' {\t"z" : 1.0 ,\r\n "correlationId":"\\u0078", "a":1e2, "big":12345678901234567890}\n',
        b'{"correlationId":"x","twice":1,"twice":2}',
        b'{"correlationId":"x","nul":"a\\u0000b","":null,"locale":"EN"}',
    ],
)
async def test_body_is_stored_byte_for_byte_with_unknown_members(agent: Agent, body: bytes) -> None:
    answer = await agent.start_session(body)

    assert answer.status == 200
    assert agent.bodies() == [body]


async def test_locale_of_the_query_is_stored_with_the_body(agent: Agent) -> None:
    await agent.start_session({"correlationId": "1"}, "?locale=FR-ca")
    await agent.start_session({"correlationId": "2", "locale": "fr-CA"}, "?locale=FR")

    kept = agent.rows("SELECT correlation_id, query_locale FROM session ORDER BY position")
    assert kept == [("1", "fr-CA"), ("2", None)]


async def test_duplicate_after_a_restart_is_answered_with_the_current_terms(tmp_path: Path) -> None:
    body = {"correlationId": "x"}
    async with agent_under_test(settings_in(tmp_path)) as agent:
        first = await agent.start_session(body)
    async with agent_under_test(settings_in(tmp_path, program=PROGRAM)) as agent:
        again = await agent.start_session(body)

    assert json.loads(again.body)["promptMessage"] == "ask ca" != first.members()["promptMessage"]
    assert again.receipt == first.receipt is not None


async def test_doubtful_terms_of_the_settings_are_served_and_logged(
    start_agent: StartAgent, caplog: pytest.LogCaptureFixture
) -> None:
    """They worked before there were bounds: an upgrade must not stop the tills."""
    rules = RuleSettings(min_redeem_points=2, max_redeem_points=1)
    agent = await start_agent(program=ProgramSettings(prompt="\x1b@", rules=rules))
    answer = await agent.start_session({"correlationId": "1"})
    assert answer.members()["prompt"] == "\x1b@"
    assert "terms.doubtful" in caplog.messages

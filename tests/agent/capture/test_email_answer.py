"""Properties of the rules of *set e-mail*."""

import json
import re

import email_validator
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from agent.capture import email_answer
from agent.capture.email_answer import is_email_address, parse_email_answer
from agent.capture.refusals import ADDRESS_NOT_VALID, ADDRESS_REQUIRED, NOT_AN_OBJECT, Refusal
from agent.facts import EmailAnswered, EmailStatus
from tests.support.json_strategies import (
    addresses,
    almost_json,
    objects,
    spelled,
    statuses,
    texts,
    values,
)

THEIRS = re.compile(
    rf"{NOT_AN_OBJECT}|{ADDRESS_REQUIRED}|{ADDRESS_NOT_VALID}"
    r"|Email address not expected when status is (declined|deferred)"
    r"|Email capture option .* is not supported!",
    re.DOTALL,
)
blanks = st.text(" \t\n\r\u00a0\u2003\u3000", max_size=4)


def outcome(body: bytes, *, check_syntax: bool = True) -> EmailAnswered | str:
    try:
        return parse_email_answer("x", body, check_syntax=check_syntax)
    except Refusal as refusal:
        return str(refusal)


def validator_takes(address: str) -> bool:
    try:
        email_validator.validate_email(address, check_deliverability=False)
    except email_validator.EmailNotValidError:
        return False
    return True


@given(almost_json | objects.flatmap(spelled))
@example(b'{"status":1e400}')
@example(b'{"status":123456789012345678901234567890}')
@example(b'{"status":' + b"[" * 900 + b"]" * 900 + b"}")
def test_any_body_is_accepted_or_refused_with_a_documented_message(body: bytes) -> None:
    answers = [outcome(body, check_syntax=check_syntax) for check_syntax in (True, False)]

    for answer in answers:
        assert isinstance(answer, EmailAnswered) or THEIRS.fullmatch(answer)


local_parts = st.lists(st.text("aZ09_+-", min_size=1, max_size=40), min_size=1, max_size=3)
labels = st.lists(st.text("aZ09-", min_size=1, max_size=70), max_size=4)
endings = st.text("azAZ", min_size=1, max_size=64)
nearly_plain = st.builds(
    lambda local, domain, ending: f"{'.'.join(local)}@{'.'.join([*domain, ending])}",
    local_parts,
    labels,
    endings,
).filter(email_answer._PLAIN_ADDRESS.fullmatch)  # noqa: SLF001 - the fast path under test


@given(nearly_plain)
@example("a@b.cc")
@example(f"{'a' * 64}@{'b' * 61}.{'c' * 61}.{'d' * 50}.ee")
@example("A.b_c+d-e@1.2.34.zz")
@example("-@0.aa")
@example("+_-.-@a-b.test")
def test_fast_path_accepts_only_addresses_that_the_validator_accepts(address: str) -> None:
    assert validator_takes(address)


@given(
    st.one_of(
        addresses,
        st.from_regex(r"[a-z0-9._+\-]{1,70}@[a-z0-9.\-]{1,70}", fullmatch=True),
        st.from_regex(r"\A[a-zé.\"@ ]{1,9}@[a-zü.\-\[\]:0-9]{1,12}\Z"),
        texts,
    )
)
@example("guest@xn--bcher-kva.example")
@example("guest@ab--cd.example")
@example("guest@localhost")
@example("guest@example.com\n")
def test_address_check_agrees_with_the_validator(address: str) -> None:
    assert is_email_address(address) == validator_takes(address)


@pytest.mark.parametrize("domain", ["example", "test", "local", "invalid", "localhost", "arpa"])
@pytest.mark.parametrize("name", ["guest", "o'hara"], ids=["short cut", "validator"])
def test_special_use_domains_are_allowed(name: str, domain: str) -> None:
    assert is_email_address(f"{name}@shop.{domain}")


@given(addresses, blanks, blanks, st.dictionaries(texts, values, max_size=4), st.data())
def test_accepted_address_is_trimmed_and_removed_from_the_stored_body(
    address: str, before: str, after: str, others: dict[str, object], data: st.DataObject
) -> None:
    assume(address not in json.dumps(others))
    others = {name: value for name, value in others.items() if name != "status"}
    members = others | {"emailAddress": before + address + after, "status": "accepted"}
    body = data.draw(spelled(members))

    answer = outcome(body, check_syntax=False)

    assert isinstance(answer, EmailAnswered)
    assert answer.address == address
    assert "emailAddress" not in json.loads(answer.body)
    assert address.encode() not in answer.body
    assert json.loads(answer.body) == {
        name: value for name, value in members.items() if name != "emailAddress"
    }


@given(statuses, blanks | st.none())
def test_blank_address_is_treated_as_missing(status: str, blank: str | None) -> None:
    answer = outcome(json.dumps({"status": status, "emailAddress": blank}).encode())

    if status == "accepted":
        assert answer == ADDRESS_REQUIRED
    else:
        assert answer == EmailAnswered(
            "x",
            EmailStatus(status),
            None,
            json.dumps({"status": status}).encode().replace(b" ", b""),
        )


@given(statuses.filter("accepted".__ne__), values)
def test_address_is_refused_when_declined_or_deferred(status: str, value: object) -> None:
    assume(value is not None and not (isinstance(value, str) and not value.strip()))

    answer = outcome(json.dumps({"status": status, "emailAddress": value}).encode())

    assert answer == f"Email address not expected when status is {status}"


@given(texts.filter(lambda text: text not in set(EmailStatus)), values)
@example("ACCEPTED", None)
@example("accepted ", None)
def test_unsupported_status_takes_precedence_over_the_address(status: str, address: object) -> None:
    answer = outcome(json.dumps({"status": status, "emailAddress": address}).encode())

    assert answer == f"Email capture option {status} is not supported!"


@given(statuses)
def test_body_without_an_address_is_stored_byte_for_byte(status: str) -> None:
    assume(status != "accepted")
    body = f'  {{ "n":1.0, "status" :\t"{status}" }}\n'.encode()

    answer = outcome(body)

    assert isinstance(answer, EmailAnswered)
    assert answer.body == body

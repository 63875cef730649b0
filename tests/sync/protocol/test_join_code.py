"""Join codes: what is printed is read back, what is mistyped is told as such."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.protocol.join_code import (
    SECRET_BYTES,
    JoinCode,
    JoinCodeError,
    authority_mark,
    is_encodable_url,
    make_secret,
    parse_join_code,
)

NAMES = st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True)
HOSTS = st.from_regex(r"[a-z0-9.-]{1,60}(:[0-9]{1,5})?(/[a-z0-9-]{1,20})?", fullmatch=True)
CODES = st.builds(
    JoinCode,
    NAMES,
    NAMES,
    HOSTS.map("https://{}".format) | HOSTS.map("http://{}".format),
    st.binary(min_size=SECRET_BYTES, max_size=SECRET_BYTES).map(make_secret),
    st.just("") | st.binary().map(authority_mark),
)
CODE = JoinCode("0042", "till-1", "https://hq.example.com", make_secret(bytes(range(16))))
TEXT = str(CODE)
MISTYPED = "the join code is mistyped"


@given(CODES)
def test_code_is_read_back(code: JoinCode) -> None:
    assert parse_join_code(str(code)) == code


def test_code_is_one_line_that_can_be_typed() -> None:
    """A code without authority fits a terminal of 80 columns."""
    assert TEXT.startswith("LJ1:0042/till-1@hq.example.com+")
    assert len(TEXT) < 80
    symbols = TEXT.partition("+")[2]
    assert not set(symbols) & set("OILU")
    assert {len(group) for group in symbols.split("-")} == {5}


@given(CODES)
def test_code_needs_no_quotes_in_a_shell_or_a_csv_file(code: JoinCode) -> None:
    assert not set(str(code)) & set(" \t\"'`$&|;<>()*?!#\\,{}")


def forms() -> list[str]:
    """Return forms in which a printed code comes back."""
    head, _, symbols = TEXT.partition("+")
    return [
        f"  {TEXT}\r\n",
        f"{head}+{symbols.lower()}",
        f"{head}+{symbols.replace('-', '')}",
        f"{head}+{symbols.replace('-', ' ')}",
        f"{head}+{symbols.replace('0', 'O').replace('1', 'l')}",
        f"{head}+{symbols.replace('0', 'o').replace('1', 'I')}",
        f"{head}+{symbols.replace('-', chr(0x2011))}",
        f"{head}+{symbols.replace('-', chr(0x2013))}",
        f"{TEXT[:40]}\n{TEXT[40:]}",
        f'"{TEXT}"',
        f"\ufeff{TEXT}",
        TEXT.replace("LJ1:", "lj1:"),
    ]


@pytest.mark.parametrize("form", forms())
def test_forms_of_a_typed_or_pasted_code_are_accepted(form: str) -> None:
    assert parse_join_code(form) == CODE


@pytest.mark.parametrize("at", range(len("LJ1:"), len(TEXT)))
def test_every_wrong_character_is_told_as_a_typing_error(at: int) -> None:
    other = "7" if TEXT[at] != "7" else "8"
    if TEXT[at] == "-" and at > TEXT.index("+"):
        return  # one symbol more
    with pytest.raises(JoinCodeError, match=r"mistyped|incomplete"):
        parse_join_code(TEXT[:at] + other + TEXT[at + 1 :])


@pytest.mark.parametrize("at", range(TEXT.index("+") + 1, len(TEXT) - 1))
def test_every_swap_of_neighbours_is_told_as_a_typing_error(at: int) -> None:
    swapped = TEXT[:at] + TEXT[at + 1] + TEXT[at] + TEXT[at + 2 :]
    if "-" in TEXT[at : at + 2] or TEXT[at] == TEXT[at + 1]:
        assert parse_join_code(swapped) == CODE
        return
    with pytest.raises(JoinCodeError, match=MISTYPED):
        parse_join_code(swapped)


@pytest.mark.parametrize("cut", range(1, 12))
def test_code_that_lacks_its_end_is_told(cut: int) -> None:
    with pytest.raises(JoinCodeError, match=f"{MISTYPED}: [0-9]+ letters"):
        parse_join_code(TEXT.replace("-", "")[:-cut])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not a join code"),
        ("0042/till-1", "not a join code"),
        ("LJ2:0042/till-1@hq+X", "format 2.*upgrade"),
        ("LJ1:0042/till-1@hq.example.com", "incomplete"),
        ("LJ1:+", "incomplete"),
        (f"{TEXT[:-1]}U", 'no code has "U"'),
        (f"{TEXT[:-1]}é", "LATIN CAPITAL LETTER E WITH ACUTE"),
        ("LJ1:" + "A" * 2000, "at most 1000"),
    ],
)
def test_reason_is_named(text: str, reason: str) -> None:
    with pytest.raises(JoinCodeError, match=reason):
        parse_join_code(text)


@given(st.text(max_size=200))
def test_any_text_is_a_code_or_an_error(text: str) -> None:
    for given_text in (text, f"LJ1:{text}", f"LJ1:a/b@c+{text}"):
        try:
            parse_join_code(given_text)
        except JoinCodeError:
            continue


@given(st.sampled_from(forms()), st.integers(0, 60), st.characters())
def test_no_error_quotes_the_secret(form: str, at: int, other: str) -> None:
    said = ""
    try:
        parse_join_code(form[:at] + other + form[at + 1 :])
    except JoinCodeError as error:
        said = str(error)
    assert CODE.secret[:5] not in said


def test_secret_is_in_no_representation() -> None:
    assert CODE.secret not in repr(CODE)


@pytest.mark.parametrize("url", ["https://a+b", "https://a b", "https://a,b", "https://a;b", "hq"])
def test_url_that_would_break_a_code_is_not_encodable(url: str) -> None:
    assert not is_encodable_url(url)

"""Hypothesis strategies for requests from tills."""

import json

from hypothesis import strategies as st

# JSON cannot represent unpaired surrogates.
texts = st.text(st.characters(exclude_categories=["Cs"]))
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
SESSION_FIELDS = [
    "correlationId",
    "externalIdentifier",
    "channel",
    "locale",
    "anonymousSessionId",
    "userStatus",
]
EMAIL_FIELDS = ["emailAddress", "status"]
statuses = st.sampled_from(["accepted", "declined", "deferred"])
addresses = st.emails()
objects = st.dictionaries(
    st.sampled_from(SESSION_FIELDS + EMAIL_FIELDS) | texts,
    st.sampled_from(["x", "fr-CA", "CLOSED", "accepted", "declined", "guest@example.com", " "])
    | values,
    max_size=6,
)
almost_json = st.one_of(
    st.binary(max_size=60),
    st.text('{}[]":,\\truefalsn0123456789.eE+-ud8 \x00é', max_size=40).map(str.encode),
    st.builds(
        lambda body, cut, junk: body[:cut] + junk,
        objects.map(lambda members: json.dumps(members).encode()),
        st.integers(0, 200),
        st.binary(max_size=3),
    ),
)


def spelled(members: object) -> st.SearchStrategy[bytes]:
    """Draw one of many JSON spellings of a value; numbers as in `json.dumps`."""
    return st.builds(
        lambda escaped, indent, separators: json.dumps(
            members, ensure_ascii=escaped, indent=indent, separators=separators
        ).encode(),
        st.booleans(),
        st.sampled_from([None, 0, 3, "\t"]),
        st.sampled_from([(",", ":"), (" ,\n", "\t: "), (", ", ": ")]),
    )


def shuffled(value: object) -> st.SearchStrategy[object]:
    """Draw the same JSON value with the members of its objects in another order."""
    if isinstance(value, dict):
        names = st.permutations(list(value))
        return names.flatmap(
            lambda order: st.fixed_dictionaries({name: shuffled(value[name]) for name in order})
        )
    if isinstance(value, list):
        return st.tuples(*map(shuffled, value)).map(list)
    return st.just(value)

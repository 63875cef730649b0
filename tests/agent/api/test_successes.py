"""The answer that is written in one piece is still an answer to whatever the library asks of it."""

from contextlib import suppress
from inspect import getmembers

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from agent.api.responses import Success
from agent.facts import Receipt

ASKED = [name for name, kind in getmembers(web.StreamResponse) if isinstance(kind, property)]
SUCCESS = Success(b"{}", Receipt("epoch-1", 1))


@pytest.mark.filterwarnings("ignore:output_length is deprecated")
@pytest.mark.parametrize("name", ASKED)
def test_library_finds_in_it_whatever_it_looks_for(name: str) -> None:
    whole = SUCCESS.whole(make_mocked_request("POST", "/"), "request-1")

    assert whole is not None
    # The library asserts of some that the head is written; of what is not there it says otherwise.
    with suppress(AssertionError):
        getattr(whole, name)

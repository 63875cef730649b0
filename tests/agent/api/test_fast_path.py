"""The fast-path answer has every property that aiohttp reads from a response."""

from contextlib import suppress
from inspect import getmembers

import pytest
from aiohttp import web

from agent.api.fast_path import WholeAnswer
from agent.api.responses import CaptureAnswer
from agent.facts import Receipt

ASKED = [name for name, kind in getmembers(web.StreamResponse) if isinstance(kind, property)]
ACKNOWLEDGEMENT = CaptureAnswer(b"{}", Receipt("epoch-1", 1))


@pytest.mark.filterwarnings("ignore:output_length is deprecated")
@pytest.mark.parametrize("name", ASKED)
def test_fast_answer_has_every_property_of_a_stream_response(name: str) -> None:
    whole = WholeAnswer(ACKNOWLEDGEMENT, "request-1")

    # Some properties assert that headers were sent; a missing one raises AttributeError.
    with suppress(AssertionError):
        getattr(whole, name)

"""Parse request bodies as strict JSON objects."""

from agent.capture.refusals import NOT_AN_OBJECT, Refusal
from sync.protocol.json_object import Json, NotAnObject, read_object


def parse_object(body: bytes) -> dict[str, Json]:
    """Return the members of `body`, a JSON object; the last of duplicate member names wins.

    Raises `Refusal` for anything that head office could not read either.
    """
    try:
        return read_object(body)
    except NotAnObject as fault:
        raise Refusal(NOT_AN_OBJECT, f"the body {fault}") from None

"""The OpenAPI document against its schemas and the routes."""

import json
import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from jsonschema import Draft202012Validator  # type: ignore[import-untyped] # no stubs

from agent.api.openapi.document import document
from agent.api.server import build_app
from tests.support.processes import ROOT

if TYPE_CHECKING:
    from agent.api.context import Context

PAGE = (ROOT / "docs" / "till-api.md").read_text("utf-8")


def document_of_api() -> dict[str, object]:
    app = build_app(cast("Context", SimpleNamespace(new_request_id=str)))
    return document("1.2.3", app.router.routes())


def test_schemas_are_valid_json_schema() -> None:
    components = cast("dict[str, dict[str, dict[str, object]]]", document_of_api())["components"]

    for schema in components["schemas"].values():
        Draft202012Validator.check_schema(schema)


def test_every_route_is_described() -> None:
    paths = cast("dict[str, dict[str, object]]", document_of_api()["paths"])

    assert sum(len(methods) for methods in paths.values()) == 16
    assert all("{" not in path or "parameters" in str(paths[path]) for path in paths)


def schemas_in(node: object, path: str = "") -> Iterator[tuple[str, dict[str, object]]]:
    """Yield each schema of the document with its place."""
    if isinstance(node, list):
        for index, one in enumerate(node):
            yield from schemas_in(one, f"{path}/{index}")
    if isinstance(node, dict):
        for name, one in node.items():
            if name == "schema" or path.endswith(("/schemas", "/properties")):
                yield f"{path}/{name}", one
            yield from schemas_in(one, f"{path}/{name}")


def test_every_schema_has_a_type_so_that_generated_clients_have_no_unknown() -> None:
    known = {"type", "$ref", "oneOf", "anyOf"}
    schemas = list(schemas_in(document_of_api()))
    schemas += [
        (f"{place}/{index}", one)
        for place, schema in schemas
        for index, one in enumerate(cast("list[dict[str, object]]", schema.get("anyOf", [])))
    ]

    assert [place for place, schema in schemas if not known & schema.keys()] == []
    free_form = [place for place, schema in schemas if schema.get("additionalProperties") is True]
    assert free_form == []
    assert len(schemas) > 100


def operations() -> list[dict[str, Any]]:
    paths = cast("dict[str, dict[str, dict[str, Any]]]", document_of_api()["paths"])
    return [operation for methods in paths.values() for operation in methods.values()]


def test_every_error_has_the_reason_in_a_header() -> None:
    errors = [
        (operation["operationId"], status, answer)
        for operation in operations()
        for status, answer in operation["responses"].items()
        if status >= "400"
    ]

    without = [one[:2] for one in errors if "Loyalty-Reason" not in str(one[2]["headers"])]
    assert without == []
    assert len(errors) > 90


def texts_in(node: object) -> Iterator[str]:
    """Yield the descriptions and summaries of the document."""
    if isinstance(node, list):
        for one in node:
            yield from texts_in(one)
    if isinstance(node, dict):
        for name, one in node.items():
            if name in {"description", "summary"} and isinstance(one, str):
                yield one
            yield from texts_in(one)


def test_no_text_looks_like_a_tag_which_the_page_would_leave_out() -> None:
    texts = list(texts_in(document_of_api()))

    assert [one for one in texts if re.search("<[A-Za-z]", one)] == []
    assert len(texts) > 100


def test_answers_of_the_till_calls_have_the_example_of_the_till_api_page() -> None:
    blocks = re.findall(r"<!-- answer -->\n```json\n(.*)\n```", PAGE)
    calls = {one["operationId"]: one for one in operations()}
    start, email = calls["startSession"], calls["setEmail"]

    started, answered = (
        one["responses"]["200"]["content"]["application/json"]["example"] for one in (start, email)
    )

    [sent] = start["requestBody"]["content"]["application/json"]["examples"].values()
    correlation_id = sent["value"]["correlationId"]
    assert started == json.loads(blocks[0]) | {"sessionCorrelationId": correlation_id}
    assert answered == json.loads(blocks[1])


def test_404_of_the_email_call_says_that_it_is_no_unknown_session() -> None:
    (email,) = (one for one in operations() if one["operationId"] == "setEmail")

    assert "unknown session is a 400" in str(email["responses"]["404"]["description"])
    assert "started as CLOSED" in str(email["responses"]["400"]["description"])


def test_operations_are_grouped_for_people_and_generated_clients() -> None:
    tags = {str(operation["tags"]) for operation in operations()}

    assert "['till']" in tags
    assert 3 <= len(tags) <= 5

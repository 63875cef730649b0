"""The OpenAPI document against its schemas and the routes."""

from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

from jsonschema import Draft202012Validator  # type: ignore[import-untyped] # no stubs

from agent.api.openapi import document
from agent.api.server import build_app

if TYPE_CHECKING:
    from agent.api.context import Context


def document_of_api() -> dict[str, object]:
    app = build_app(cast("Context", SimpleNamespace(new_request_id=str)))
    return document("1.2.3", app.router.routes())


def test_schemas_are_valid_json_schema() -> None:
    components = cast("dict[str, dict[str, dict[str, object]]]", document_of_api())["components"]

    for schema in components["schemas"].values():
        Draft202012Validator.check_schema(schema)


def test_every_route_is_described() -> None:
    paths = cast("dict[str, dict[str, object]]", document_of_api()["paths"])

    assert sum(len(methods) for methods in paths.values()) == 14
    assert all("{" not in path or "parameters" in str(paths[path]) for path in paths)

"""The OpenAPI document against its schemas and the routes."""

from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

from jsonschema import Draft202012Validator  # type: ignore[import-untyped] # no stubs

from agent.api.openapi import document
from agent.api.server import build_app

if TYPE_CHECKING:
    from agent.api.context import Context


def test_schemas_are_valid_json_schema() -> None:
    components = cast("dict[str, dict[str, dict[str, object]]]", document("1.2.3"))["components"]

    for schema in components["schemas"].values():
        Draft202012Validator.check_schema(schema)


def test_document_and_routes_have_the_same_paths_and_methods() -> None:
    app = build_app(cast("Context", SimpleNamespace(new_request_id=str)))
    routed = {
        (route.resource.canonical, route.method.lower())
        for route in app.router.routes()
        if route.resource and route.method != "HEAD"
    }

    paths = cast("dict[str, dict[str, object]]", document("1.2.3")["paths"])
    assert {(path, method) for path, methods in paths.items() for method in methods} == routed

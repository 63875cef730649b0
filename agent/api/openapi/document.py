"""OpenAPI 3.1 document of the API, generated from the routes and the types of their answers."""

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypedDict, cast

import msgspec
from aiohttp import hdrs, web

from agent.api.context import CONTEXT
from agent.api.openapi import viewer
from agent.api.openapi.schemas import (
    REF,
    Schema,
    answer_example,
    described,
    error_examples,
    ref,
    request_examples,
    request_schemas,
    with_types,
)
from agent.api.page import endpoints
from agent.api.reasons import MAX_CHARACTERS
from agent.api.request_body import MAX_BODY_BYTES
from agent.api.responses import CorrelationId, Epoch, Operation, Sequence
from agent.facts import RECEIPT_PATTERN
from sync.runtime.network.http_server import json_response

Handler = Callable[..., object]
_STRING: Schema = {"type": "string"}

_ERRORS = {
    "400": "The request is invalid, or not valid HTTP",
    "401": "The token is missing or wrong",
    "403": "The Host or Origin is not allowed",
    "404": "No such endpoint",
    "405": "The endpoint does not support this method",
    "408": "The body did not arrive in time",
    "409": "Delivery is not configured",
    "413": f"The body is larger than {MAX_BODY_BYTES} bytes",
    "415": "The Content-Encoding is not gzip, deflate or identity",
    "417": "The only supported expectation is 100-continue",
    "500": "Internal error; nothing was recorded",
    "503": "The storage is not available; nothing was recorded. Retry",
    "507": "The disk is full; nothing was recorded. The reason says how much is free and needed",
}
_ALWAYS = ("400", "401", "403", "405", "417", "500")
_COMMON_HEADERS: Schema = {
    "x-amzn-RequestId": {
        "description": "Unique to this answer; the agent's log contains it",
        "required": True,
        "schema": {"type": "string", "format": "uuid"},
    }
}
_REASON: Schema = {
    "description": "The cause in words, for whoever debugs the till; never an address",
    "required": True,
    "schema": {"type": "string", "pattern": f"^[ -~]{{1,{MAX_CHARACTERS}}}$"},
}
_TAGS = {"/client/": "till", "/agent/v1/dead": "dead letters", "/agent/": "delivery"}
_OTHER = "machine"
_RECEIPT: Schema = {
    "Loyalty-Receipt": {
        "description": "EPOCH/SEQUENCE: the number of the capture at head office",
        "required": True,
        "schema": {"type": "string", "pattern": "^[0-9a-f-]{36}/[1-9][0-9]*$"},
    }
}
_IN_PATH = {"correlation_id": CorrelationId, "epoch": Epoch, "sequence": Sequence}
_IN_QUERY: dict[str, Schema] = {"after": _STRING | {"pattern": f"^{RECEIPT_PATTERN}$"}}
_ERROR_HEADERS: dict[str, Schema] = {
    "401": {
        "WWW-Authenticate": {"required": True, "schema": {"type": "string", "const": "Bearer"}}
    },
    "405": {"Allow": {"required": True, "schema": _STRING}},
    "415": {"Accept-Encoding": {"required": True, "schema": _STRING}},
    "503": {
        "Retry-After": {
            "description": "Seconds",
            "required": True,
            "schema": {"type": "string", "pattern": "^[0-9]+$"},
        }
    },
}


class DocumentInfo(TypedDict):
    """Name and version of the API."""

    title: str
    version: str


class OpenApiDocument(TypedDict):
    """The OpenAPI 3.1 document; it has more members."""

    openapi: str
    info: DocumentInfo


@Operation(OpenApiDocument)
async def show_openapi(request: web.Request) -> web.Response:
    """Return the OpenAPI document."""
    version = request.app[CONTEXT].identity.version
    return json_response(document(version, request.app.router.routes()))


def document(version: str, routes: Iterable[web.AbstractRoute]) -> Schema:
    """Return the document of these routes, each with an `Operation`."""
    served = [
        (route.resource.canonical, route.method.lower(), route.handler, Operation.of(route.handler))
        for route in routes
        if route.resource is not None
        and route.method != hdrs.METH_HEAD
        and route.resource.canonical not in (viewer.ASSETS, endpoints.ASSETS)
    ]
    answers, answer_schemas = msgspec.json.schema_components(
        [str if isinstance(one.answer, str) else one.answer for *_, one in served],
        ref_template=REF,
    )
    paths: dict[str, Schema] = {}
    for (path, method, handler, operation), answer in zip(served, answers, strict=True):
        paths.setdefault(path, {})[method] = _operation(path, handler, operation, answer)
    schemas = request_schemas() | answer_schemas
    found: Schema = {
        "openapi": "3.1.0",
        "info": {
            "title": "Loyalty agent",
            "version": version,
            "description": "The loyalty platform's two till calls, served on the POS machine.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": {name: described(name, one) for name, one in schemas.items()},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }
    return cast("Schema", with_types(found))


def _operation(path: str, handler: Handler, operation: Operation, answer: Schema) -> Schema:
    name = re.sub(r"_(\w)", lambda found: found[1].upper(), handler.__name__)
    media_type = operation.answer if isinstance(operation.answer, str) else "application/json"
    done: dict[str, Any] = {
        "description": "Done",
        "content": {media_type: {"schema": answer}},
        "headers": _COMMON_HEADERS | (_RECEIPT if operation.body else {}),
    }
    if operation.body:
        done["content"][media_type]["example"] = answer_example(operation.body)
    if operation.links:
        done["links"] = {name: _link(name) for name in operation.links}
    errors = {
        status: _error(status, operation.notes.get(status, _ERRORS[status]), name)
        for status in sorted((*_ALWAYS, *operation.errors))
    }
    found: Schema = {
        "operationId": name,
        "summary": str(inspect.getdoc(handler)).partition("\n")[0].rstrip("."),
        "tags": [next((tag for start, tag in _TAGS.items() if path.startswith(start)), _OTHER)],
        "parameters": [*_in_path(path), *_in_query(operation.query)],
        "responses": {str(operation.success.value): done} | errors,
    }
    if operation.body is not None:
        content = {"schema": ref(operation.body), "examples": request_examples(operation.body)}
        found["requestBody"] = {"required": True, "content": {"application/json": content}}
    if not operation.needs_token:
        found["security"] = []
    return found


def _link(operation: str) -> Schema:
    return {
        "operationId": operation,
        "parameters": {"correlation_id": "$response.body#/sessionCorrelationId"},
    }


def _in_path(path: str) -> list[Schema]:
    names = re.findall(r"{(\w+)}", path)
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": msgspec.json.schema(_IN_PATH[name]),
        }
        for name in names
    ]


def _in_query(query: Mapping[str, str]) -> list[Schema]:
    return [
        {"name": name, "in": "query", "description": text, "schema": _IN_QUERY.get(name, _STRING)}
        for name, text in query.items()
    ]


def _error(status: str, description: str, operation: str) -> Schema:
    examples = error_examples()
    example = examples.get(f"{operation}.{status}", examples[status])
    body = {
        "statusCode": int(status),
        "errorMessage": example["message"],
        "errorCode": example["code"],
    }
    reason = {"Loyalty-Reason": _REASON | {"example": example["reason"]}}
    return {
        "description": description,
        "content": {"application/json": {"schema": ref("Error"), "example": body}},
        "headers": _COMMON_HEADERS | reason | _ERROR_HEADERS.get(status, {}),
    }

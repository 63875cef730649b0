"""OpenAPI 3.1 document of the API; the schemas of responses are those of their types."""

from typing import Any

import msgspec
from aiohttp import web

from agent.api.context import CONTEXT
from agent.api.dead_letters import DeadLetterReport
from agent.api.request_body import MAX_BODY_BYTES
from agent.api.responses import ERROR_CODES, CorrelationId, Epoch, Sequence
from agent.api.sessions import SessionState
from agent.api.status import HealthReport, StatusReport
from agent.capture.session_answer import SessionAnswer
from agent.facts import RECEIPT_PATTERN, EmailStatus
from sync.protocol.program_terms import Locale
from sync.runtime.http_server import json_response

Schema = dict[str, object]
_REF = "#/components/schemas/{name}"
_RESPONSES = (SessionAnswer, SessionState, StatusReport, DeadLetterReport, HealthReport)
_STRING: Schema = {"type": "string"}
_OPTIONAL_TEXT: Schema = {"type": ["string", "null"], "pattern": r"^[^\u0000]*$"}

_ERRORS = {
    "400": "The request is invalid, or not valid HTTP",
    "401": "The token is missing or wrong",
    "403": "The Host or Origin is not allowed",
    "404": "No such endpoint, session or dead letter",
    "405": "The endpoint does not support this method",
    "408": "The body did not arrive in time",
    "409": "Delivery is not configured",
    "413": f"The body is larger than {MAX_BODY_BYTES} bytes",
    "415": "The Content-Encoding is not gzip, deflate or identity",
    "417": "The only supported expectation is 100-continue",
    "500": "Internal error; nothing was recorded",
    "503": "The storage is not available; nothing was recorded. Retry",
    "507": "The disk is full; nothing was recorded",
}
_ALWAYS = ("400", "401", "403", "405", "417", "500")
_CAPTURE = (*_ALWAYS, "408", "413", "415", "503", "507")
_COMMON_HEADERS: Schema = {
    "x-amzn-RequestId": {
        "description": "Unique to this answer; the agent's log contains it",
        "required": True,
        "schema": {"type": "string", "format": "uuid"},
    }
}
_ERROR_HEADERS: dict[str, Schema] = {
    "401": {"WWW-Authenticate": {"required": True, "schema": {"const": "Bearer"}}},
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
_EXAMPLES: dict[str, Schema] = {
    "SessionStart": {
        "till": {
            "value": {
                "correlationId": "92a892ab-6caa-45a7-8774-65fbfb39d516",
                "externalIdentifier": "0042-7-118",
                "channel": "STORE",
                "locale": "fr-CA",
            }
        }
    },
    "EmailAnswer": {
        "accepted": {"value": {"emailAddress": "guest@example.com", "status": "accepted"}},
        "deferred": {"value": {"status": "deferred"}},
    },
}


async def show_openapi(request: web.Request) -> web.Response:
    """Return the document of this agent."""
    return json_response(document(request.app[CONTEXT].identity.version))


def document(version: str) -> Schema:
    """Return the document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Loyalty agent",
            "version": version,
            "description": "The loyalty platform's two till calls, served on the POS machine.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "paths": {
            **_till_calls(),
            **_state_and_delivery(),
            **_dead_letters(),
            **_health(),
        },
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


def _till_calls() -> Schema:
    start_session = _operation(
        "startSession",
        "Start an anonymous session",
        _json("SessionAnswer"),
        parameters=[_locale()],
        body="SessionStart",
        errors=_CAPTURE,
        receipt=True,
    )
    start_session["responses"]["200"]["links"] = {
        operation: {
            "operationId": operation,
            "parameters": {"correlation_id": "$response.body#/sessionCorrelationId"},
        }
        for operation in ("setEmail", "showSession")
    }
    set_email = _operation(
        "setEmail",
        "Record the customer's answer to the e-mail prompt",
        _json("EmailUpdated"),
        parameters=[_session_id()],
        body="EmailAnswer",
        errors=(*_CAPTURE, "404"),
        receipt=True,
    )
    return {
        "/client/users/anonymous/sessions": {"post": start_session},
        "/client/users/{correlation_id}/profile/email": {"put": set_email},
    }


def _state_and_delivery() -> Schema:
    show_session = _operation(
        "showSession",
        "Delivery state of a session and its e-mail answers",
        _json("SessionState"),
        parameters=[_session_id()],
        errors=(*_ALWAYS, "404", "503"),
    )
    start_pass = _operation(
        "startPass",
        "Deliver now",
        _json("SyncReport"),
        parameters=[
            {
                "name": "pace",
                "in": "query",
                "description": "full: without the pauses that give tills priority",
                "schema": _STRING,
            }
        ],
        errors=(*_ALWAYS, "409"),
        success="202",
    )
    return {
        "/agent/v1/sessions/{correlation_id}": {"get": show_session},
        "/agent/v1/status": {
            "get": _operation("showStatus", "State of the agent", _json("StatusReport"))
        },
        "/agent/v1/sync": {"post": start_pass},
    }


def _dead_letters() -> Schema:
    path = "/agent/v1/dead-letters"
    list_letters = _operation(
        "listDeadLetters",
        "Events that central rejected, in ascending order",
        {"application/json": {"schema": {"type": "array", "items": _ref("DeadLetterReport")}}},
        parameters=[
            {
                "name": "after",
                "in": "query",
                "description": "EPOCH/SEQUENCE: start after this dead letter",
                "schema": {"type": "string", "pattern": f"^{RECEIPT_PATTERN}$"},
            }
        ],
        errors=(*_ALWAYS, "503"),
    )

    def of_one(name: str, summary: str) -> Schema:
        return _operation(
            name,
            summary,
            _json("DeadLetterReport"),
            parameters=[_in_path("epoch", Epoch), _in_path("sequence", Sequence)],
            errors=(*_ALWAYS, "404", "503", "507"),
        )

    one = f"{path}/{{epoch}}/{{sequence}}"
    return {
        path: {"get": list_letters},
        one: {"get": of_one("showDeadLetter", "One dead letter")},
        f"{one}/retry": {"post": of_one("retryDeadLetter", "Deliver it again")},
        f"{one}/discard": {"post": of_one("discardDeadLetter", "Discard it permanently")},
    }


def _health() -> Schema:
    alive = _operation("isAlive", "The process serves requests", _json("HealthReport"))
    ready = _operation(
        "isReady", "Captures can be recorded", _json("HealthReport"), errors=(*_ALWAYS, "503")
    )
    html: Schema = {"text/html": {"schema": _STRING}}
    plain: Schema = {"text/plain": {"schema": _STRING}}
    any_json: Schema = {"application/json": {"schema": {}}}
    return {
        "/healthz": {"get": alive | {"security": []}},
        "/readyz": {"get": ready | {"security": []}},
        "/metrics": {"get": _operation("showMetrics", "Prometheus metrics", plain)},
        "/openapi.json": {"get": _operation("showOpenapi", "This document", any_json)},
        "/": {"get": _operation("showPage", "The status page", html)},
    }


def _operation(  # noqa: PLR0913 - one keyword per part of an operation
    name: str,
    summary: str,
    content: Schema,
    *,
    parameters: list[Schema] | None = None,
    body: str | None = None,
    errors: tuple[str, ...] = _ALWAYS,
    receipt: bool = False,
    success: str = "200",
) -> dict[str, Any]:
    headers = _COMMON_HEADERS | (_receipt() if receipt else {})
    done: Schema = {"description": "Done", "content": content, "headers": headers}
    operation: dict[str, Any] = {
        "operationId": name,
        "summary": summary,
        "responses": {success: done} | {status: _error(status) for status in sorted(errors)},
    }
    if parameters:
        operation["parameters"] = parameters
    if body is not None:
        content = {"schema": _ref(body), "examples": _EXAMPLES[body]}
        operation["requestBody"] = {"required": True, "content": {"application/json": content}}
    return operation


def _receipt() -> Schema:
    return {
        "Loyalty-Receipt": {
            "description": "<epoch>/<sequence>: the number of the capture at head office",
            "required": True,
            "schema": {"type": "string", "pattern": "^[0-9a-f-]{36}/[1-9][0-9]*$"},
        }
    }


def _error(status: str) -> Schema:
    return {
        "description": _ERRORS[status],
        "content": _json("Error"),
        "headers": _COMMON_HEADERS | _ERROR_HEADERS.get(status, {}),
    }


def _json(schema: str) -> Schema:
    return {"application/json": {"schema": _ref(schema)}}


def _ref(name: str) -> Schema:
    return {"$ref": _REF.format(name=name)}


def _locale() -> Schema:
    locales = ", ".join(Locale)
    return {
        "name": "locale",
        "in": "query",
        "description": f"Overrides the body's. One of {locales}; anything else is ignored",
        "schema": _STRING,
    }


def _session_id() -> Schema:
    description = "The session's correlationId, percent-encoded"
    return _in_path("correlation_id", CorrelationId) | {"description": description}


def _in_path(name: str, type_: object) -> Schema:
    return {"name": name, "in": "path", "required": True, "schema": msgspec.json.schema(type_)}


def _schemas() -> Schema:
    """Return the schemas of requests, and those of responses from their types."""
    _, responses = msgspec.json.schema_components(_RESPONSES, ref_template=_REF)
    return {
        "SessionStart": _session_start(),
        "EmailAnswer": _email_answer(),
        "EmailUpdated": _exact({"properties": {"message": {"const": "Email option updated."}}}),
        "Error": _exact(
            {
                "properties": {
                    "statusCode": {"type": "integer"},
                    "errorMessage": _STRING,
                    "errorCode": {"enum": [code.value for code in ERROR_CODES]},
                }
            }
        ),
        **{name: _exact(schema) for name, schema in responses.items()},
    }


def _exact(schema: dict[str, Any]) -> Schema:
    """Return the schema of an object without further members; other types unchanged."""
    if "properties" not in schema:
        return schema
    required = {"type": "object", "required": list(schema["properties"])}
    return required | schema | {"additionalProperties": False}


def _session_start() -> Schema:
    return {
        "type": "object",
        "properties": {
            "correlationId": msgspec.json.schema(CorrelationId),
            "externalIdentifier": _OPTIONAL_TEXT,
            "channel": _OPTIONAL_TEXT,
            "locale": {"description": f"One of {', '.join(Locale)}; anything else is ignored"},
            "anonymousSessionId": _OPTIONAL_TEXT,
            "userStatus": _OPTIONAL_TEXT,
        },
        "required": ["correlationId"],
        "additionalProperties": True,
    }


def _email_answer() -> Schema:
    accepted = {
        "type": "object",
        "properties": {
            "status": {"const": EmailStatus.ACCEPTED.value},
            "emailAddress": {
                "type": "string",
                "pattern": r"\S",
                "description": "Its syntax is checked; blanks around it are trimmed",
            },
        },
        "required": ["status", "emailAddress"],
        "additionalProperties": True,
    }
    without_address = {
        "type": "object",
        "properties": {
            "status": {"enum": [EmailStatus.DECLINED.value, EmailStatus.DEFERRED.value]},
            "emailAddress": {"type": ["string", "null"], "pattern": r"^\s*$"},
        },
        "required": ["status"],
        "additionalProperties": True,
    }
    return {"oneOf": [accepted, without_address]}

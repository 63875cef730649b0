"""OpenAPI 3.1 document of the till API, generated from the tables that the handlers use."""

from agent.api.delivery import STATES
from agent.api.errors import ERROR_CODES
from agent.api.request_body import MAX_BODY_BYTES
from agent.capture.session_start import MAX_CORRELATION_ID_CODE_POINTS
from agent.facts import RECEIPT_PATTERN, DeliveryState, EmailStatus
from sync.protocol.program_terms import Locale
from sync.protocol.wire import EventType

Schema = dict[str, object]
_STRING: Schema = {"type": "string"}
_OPTIONAL_STRING: Schema = {"type": ["string", "null"]}
_TEXT: Schema = {"type": ["string", "null"], "pattern": r"^[^\u0000]*$"}
_NUMBER: Schema = {"type": "number"}
_COUNT: Schema = {"type": ["integer", "null"], "minimum": 0}
_TIME: Schema = {"type": "string", "format": "date-time"}
_OPTIONAL_TIME: Schema = {"type": ["string", "null"], "format": "date-time"}
_EPOCH: Schema = {"type": "string", "format": "uuid"}
_SEQUENCE: Schema = {"type": "integer", "minimum": 1, "maximum": 2**53 - 1}
_CORRELATION_ID: Schema = {
    "type": "string",
    "minLength": 1,
    "maxLength": MAX_CORRELATION_ID_CODE_POINTS,
    "pattern": r"^[^\u0000-\u001f\u007f-\u009f]+$",
    "description": "Recommended: a GUID. Not blank, no control character, not . or ..",
}

_SAID = {
    "400": "The request breaks a rule, or is not valid HTTP",
    "401": "A token is set and was not shown",
    "403": "The Host or Origin is not one of ours",
    "404": "There is nothing at this address, or no such session",
    "405": "The address does not take this method",
    "409": "There is nothing to do it with",
    "408": "The body did not arrive in time",
    "413": f"The body is larger than {MAX_BODY_BYTES} bytes",
    "415": "The Content-Encoding is not gzip, deflate or identity",
    "417": "Only the expectation 100-continue can be met",
    "500": "A fault of the agent; nothing was recorded",
    "503": "Nothing can be recorded at the moment; ask again",
    "507": "The disk is full; nothing was recorded",
}
_ON_EVERY_ANSWER: Schema = {
    "x-amzn-RequestId": {
        "description": "Fresh for each answer; the agent's log names it",
        "required": True,
        "schema": {"type": "string", "format": "uuid"},
    }
}
_ON_ERROR: dict[str, Schema] = {
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
_ALWAYS = ("400", "401", "403", "405", "417", "500")
_TAKING = (*_ALWAYS, "408", "413", "415", "503", "507")


def document(version: str) -> Schema:
    """Return the document, for `GET /openapi.json`."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Loyalty agent",
            "version": version,
            "description": "The loyalty platform's two till calls, served on the POS machine.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "paths": _paths(),
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


def _paths() -> Schema:
    return {
        "/client/users/anonymous/sessions": {"post": _start_session()},
        "/client/users/{correlation_id}/profile/email": {"put": _set_email()},
        "/agent/v1/sessions/{correlation_id}": {
            "get": _operation(
                "showSession",
                "Where a session and its e-mail answers stand",
                _json("SessionState"),
                parameters=[_path_id()],
                errors=(*_ALWAYS, "404", "503"),
            )
        },
        "/agent/v1/status": {"get": _operation("showStatus", "The agent's state", _json("Status"))},
        "/agent/v1/sync": {
            "post": _operation(
                "tryNow",
                "Deliver what waits now",
                _json("Sync"),
                parameters=[_pace()],
                errors=(*_ALWAYS, "409"),
                success="202",
            )
        },
        "/agent/v1/dead-letters": {
            "get": _operation(
                "listDeadLetters",
                "What central refused for good, the lowest numbers first",
                {"application/json": {"schema": {"type": "array", "items": _ref("DeadLetter")}}},
                parameters=[_after()],
                errors=(*_ALWAYS, "503"),
            )
        },
        "/agent/v1/dead-letters/{epoch}/{sequence}": {
            "get": _of_letter("showDeadLetter", "One of them")
        },
        "/agent/v1/dead-letters/{epoch}/{sequence}/retry": {
            "post": _of_letter("retryDeadLetter", "Send it again")
        },
        "/agent/v1/dead-letters/{epoch}/{sequence}/discard": {
            "post": _of_letter("discardDeadLetter", "Give it up for good")
        },
        "/healthz": {"get": _operation("isAlive", "The process serves", _json("Word"), open_=True)},
        "/readyz": {
            "get": _operation(
                "isReady",
                "Captures can be taken now",
                _json("Word"),
                errors=(*_ALWAYS, "503"),
                open_=True,
            )
        },
        "/metrics": {"get": _operation("showMetrics", "Prometheus metrics", _text("text/plain"))},
        "/openapi.json": {
            "get": _operation("showOpenapi", "This document", {"application/json": {"schema": {}}})
        },
        "/": {"get": _operation("showPage", "The status page", _text("text/html"))},
    }


def _start_session() -> Schema:
    return _operation(
        "startSession",
        "Start an anonymous session",
        _json("SessionAnswer"),
        parameters=[
            {
                "name": "locale",
                "in": "query",
                "description": "Goes before the body's. Anything but "
                + ", ".join(Locale)
                + " counts as not given.",
                "schema": _STRING,
            }
        ],
        body="SessionStart",
        errors=_TAKING,
        receipt=True,
        links={name: _link(name) for name in ("setEmail", "showSession")},
    )


def _link(operation: str) -> Schema:
    return {
        "operationId": operation,
        "parameters": {"correlation_id": "$response.body#/sessionCorrelationId"},
    }


def _set_email() -> Schema:
    return _operation(
        "setEmail",
        "Give the customer's answer to the e-mail prompt",
        _json("EmailUpdated"),
        parameters=[_path_id()],
        body="EmailAnswer",
        errors=(*_TAKING, "404"),
        receipt=True,
    )


def _operation(  # noqa: PLR0913 - one keyword per part of an operation
    name: str,
    summary: str,
    content: Schema,
    *,
    parameters: list[Schema] | None = None,
    body: str | None = None,
    errors: tuple[str, ...] = _ALWAYS,
    receipt: bool = False,
    open_: bool = False,
    links: Schema | None = None,
    success: str = "200",
) -> Schema:
    done: Schema = {"description": "Done", "content": content, "headers": _headers(receipt)}
    if links:
        done["links"] = links
    operation: Schema = {
        "operationId": name,
        "summary": summary,
        "responses": {success: done} | {status: _error(status) for status in sorted(errors)},
    }
    if parameters:
        operation["parameters"] = parameters
    if body is not None:
        content = {"schema": _ref(body), "examples": _EXAMPLES[body]}
        operation["requestBody"] = {"required": True, "content": {"application/json": content}}
    if open_:
        operation["security"] = []
    return operation


def _headers(receipt: bool) -> Schema:  # noqa: FBT001 - a part of the operation above
    headers: Schema = dict(_ON_EVERY_ANSWER)
    if receipt:
        headers["Loyalty-Receipt"] = {
            "description": "<epoch>/<sequence>: the number head office finds the capture under",
            "required": True,
            "schema": {"type": "string", "pattern": "^[0-9a-f-]{36}/[1-9][0-9]*$"},
        }
    return headers


def _error(status: str) -> Schema:
    return {
        "description": _SAID[status],
        "content": _json("Error"),
        "headers": _ON_EVERY_ANSWER | _ON_ERROR.get(status, {}),
    }


def _json(schema: str) -> Schema:
    return {"application/json": {"schema": _ref(schema)}}


def _ref(schema: str) -> Schema:
    return {"$ref": f"#/components/schemas/{schema}"}


def _text(media_type: str) -> Schema:
    return {media_type: {"schema": _STRING}}


def _path_id() -> Schema:
    return {
        "name": "correlation_id",
        "in": "path",
        "required": True,
        "description": "The session's correlationId, percent-encoded",
        "schema": _CORRELATION_ID,
    }


def _of_letter(name: str, summary: str) -> Schema:
    return _operation(
        name,
        summary,
        _json("DeadLetter"),
        parameters=[_place("epoch", _EPOCH), _place("sequence", _SEQUENCE)],
        errors=(*_ALWAYS, "404", "503", "507"),
    )


def _place(name: str, schema: Schema) -> Schema:
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _after() -> Schema:
    return {
        "name": "after",
        "in": "query",
        "description": "EPOCH/SEQUENCE: only what comes after it",
        "schema": {"type": "string", "pattern": f"^{RECEIPT_PATTERN}$"},
    }


def _pace() -> Schema:
    return {
        "name": "pace",
        "in": "query",
        "description": "full: without the pauses that spare the tills",
        "schema": _STRING,
    }


def _object(required: dict[str, Schema], optional: dict[str, Schema] | None = None) -> Schema:
    """Return the schema of an object with exactly these members."""
    return {
        "type": "object",
        "properties": required | (optional or {}),
        "required": list(required),
        "additionalProperties": False,
    }


def _schemas() -> Schema:
    return {
        "SessionStart": _session_start(),
        "SessionAnswer": _session_answer(),
        "EmailAnswer": _email_answer(),
        "EmailUpdated": _object({"message": {"const": "Email option updated."}}),
        "SessionState": _session_state(),
        "Status": _status(),
        "Sync": _sync(),
        "DeadLetter": _dead_letter(),
        "Word": _object({"status": _STRING}),
        "Error": _object(
            {
                "statusCode": {"type": "integer"},
                "errorMessage": _STRING,
                "errorCode": {"enum": [code.value for code in ERROR_CODES]},
            }
        ),
    }


def _session_start() -> Schema:
    return {
        "type": "object",
        "properties": {
            "correlationId": _CORRELATION_ID,
            "externalIdentifier": _TEXT,
            "channel": _TEXT,
            "locale": {"description": f"One of {', '.join(Locale)}; anything else is ignored"},
            "anonymousSessionId": _TEXT,
            "userStatus": _TEXT,
        },
        "required": ["correlationId"],
        "additionalProperties": True,
    }


def _session_answer() -> Schema:
    rules = ("minRedeem", "maxRedeem", "redeemIncrement")
    limits = {f"{rule}{unit}": _NUMBER for rule in rules for unit in ("Points", "Amount")}
    return _object(
        {
            "loyaltyId": {"const": "anonymous"},
            "membershipType": {"const": "N"},
            "status": _STRING,
            "prompt": _STRING,
            "isValid": {"type": "boolean"},
            "promptMessage": _STRING,
            "receiptMessage": _STRING,
            "pointsBalance": _NUMBER,
            "userMaxRedeemDollars": _NUMBER,
            "redemptionRules": _object({**limits, "currency": _STRING}),
            "sessionCorrelationId": _CORRELATION_ID,
            "receiptPreference": _STRING,
        }
    )


def _email_answer() -> Schema:
    accepted = {
        "type": "object",
        "properties": {
            "status": {"const": EmailStatus.ACCEPTED.value},
            "emailAddress": {
                "type": "string",
                "pattern": r"\S",
                "description": "Checked for what an address can be; blanks around it are trimmed",
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


def _session_state() -> Schema:
    where: dict[str, Schema] = {
        "epoch": _EPOCH,
        "sequence": _SEQUENCE,
        "capturedAt": _TIME,
        "state": {"enum": [state.value for state in DeliveryState]},
        "deliveredAt": _OPTIONAL_TIME,
    }
    answer = _object({"status": {"enum": [status.value for status in EmailStatus]}, **where})
    return _object(
        {
            "correlationId": _CORRELATION_ID,
            **where,
            "emailAnswers": {"type": "array", "items": answer},
        }
    )


def _dead_letter() -> Schema:
    return _object(
        {
            "epoch": _EPOCH,
            "sequence": _SEQUENCE,
            "type": {"enum": [kind.value for kind in EventType]},
            "correlationId": _CORRELATION_ID,
            "errorCode": _STRING,
            "errorMessage": _STRING,
            "httpStatus": _COUNT,
            "refusedAt": _TIME,
            "attempts": _COUNT,
        }
    )


def _sync() -> Schema:
    return _object(
        {
            "state": {"enum": list(STATES)},
            "trouble": _OPTIONAL_STRING,
            "detail": _OPTIONAL_STRING,
            "httpStatus": _COUNT,
            "failures": _COUNT,
            "nextTryInSeconds": {"type": ["number", "null"]},
            "lastDeliveryAt": _OPTIONAL_TIME,
            "passes": _COUNT,
            "delivered": _COUNT,
            "refused": _COUNT,
        }
    )


def _status() -> Schema:
    storage = _object(
        {
            "state": {"enum": ["ready", "full", "down"]},
            "directory": _STRING,
            "databaseBytes": _COUNT,
            "freeBytes": _COUNT,
            "setAside": {"type": "array", "items": _STRING},
        },
        {"reason": _STRING},
    )
    return _object(
        {
            "version": _STRING,
            "storeId": _STRING,
            "tillId": _STRING,
            "startedAt": _TIME,
            "epoch": _OPTIONAL_STRING,
            "lastSequence": _COUNT,
            "watermark": _COUNT,
            "waiting": _COUNT,
            "oldestWaitingAt": _OPTIONAL_TIME,
            "deadLetters": _COUNT,
            "storage": storage,
            "central": {"type": "object", "additionalProperties": _STRING},
            "sync": _ref("Sync"),
        }
    )

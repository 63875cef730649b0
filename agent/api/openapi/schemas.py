"""JSON Schemas of requests and errors, texts and examples, and rules for generated clients."""

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from agent.api.responses import ERROR_CODES, CorrelationId
from agent.facts import EmailStatus
from sync.protocol.program_terms import Locale

Schema = dict[str, object]
REF = "#/components/schemas/{name}"
_STRING: Schema = {"type": "string"}
_OPTIONAL_TEXT: Schema = {"type": ["string", "null"], "pattern": r"^[^\u0000]*$"}
_TEXTS = Path(__file__).with_name("texts.toml")
Texts = Mapping[str, Mapping[str, str]]


def ref(name: str) -> Schema:
    """Return a reference to the schema of this name."""
    return {"$ref": REF.format(name=name)}


def request_schemas() -> dict[str, dict[str, Any]]:
    """Return the schemas of the requests of tills, and of errors."""
    return {
        "SessionStart": _session_start(),
        "EmailAnswer": {"oneOf": [ref("EmailAccepted"), ref("EmailNotGiven")]},
        "EmailAccepted": _email_accepted(),
        "EmailNotGiven": _email_not_given(),
        "Error": {
            "type": "object",
            "properties": {
                "statusCode": {"type": "integer"},
                "errorMessage": _STRING,
                "errorCode": {"enum": [code.value for code in ERROR_CODES]},
            },
            "required": ["statusCode", "errorMessage", "errorCode"],
        },
    }


@cache
def member_texts() -> Texts:
    """Return the descriptions of members, by schema and member."""
    found: Texts = _texts()["members"]
    return found


def request_examples(name: str) -> Schema:
    """Return examples of a request, by name."""
    return {example: {"value": body} for example, body in _texts()["requests"][name].items()}


def answer_example(name: str) -> Schema:
    """Return the answer to the first example of a request."""
    found: Schema = _texts()["answers"][name]
    return found


@cache
def error_examples() -> Texts:
    """Return an error of each status: its message, code and reason.

    By status, or by operation and status where an operation has its own: `setEmail.400`.
    """
    examples: dict[str, Mapping[str, str]] = {}
    for name, found in _texts()["errors"].items():
        if name.isdigit():
            examples[name] = found
        else:
            examples |= {f"{name}.{status}": one for status, one in found.items()}
    return examples


@cache
def _texts() -> dict[str, Any]:
    return tomllib.loads(_TEXTS.read_text("utf-8"))


def described(name: str, schema: dict[str, Any]) -> Schema:
    """Return the schema of an object with the meaning of each member; return others unchanged.

    An answer may have further members in a later version: clients must ignore those.
    """
    if "properties" not in schema:
        return schema
    texts = member_texts()[name]
    members = {
        member: of_member | {"description": texts[member]} if member in texts else of_member
        for member, of_member in schema["properties"].items()
    }
    return {"required": list(members)} | schema | {"properties": members}


def _session_start() -> Schema:
    return {
        "type": "object",
        "properties": {
            "correlationId": msgspec.json.schema(CorrelationId),
            "externalIdentifier": _OPTIONAL_TEXT,
            "channel": _OPTIONAL_TEXT,
            "locale": {
                "type": ["string", "null"],
                "description": f"One of {', '.join(Locale)}; anything else is ignored",
            },
            "anonymousSessionId": _OPTIONAL_TEXT,
            "userStatus": _OPTIONAL_TEXT,
        },
        "required": ["correlationId"],
    }


def _email_accepted() -> Schema:
    return {
        "type": "object",
        "properties": {
            "status": {"const": EmailStatus.ACCEPTED.value},
            "emailAddress": {
                "type": "string",
                # The control characters are blanks to Python, but not to every regex engine.
                "pattern": r"[^\s\x1c-\x1f\x85]",
                "description": "Its syntax is checked; blanks around it are trimmed",
            },
        },
        "required": ["status", "emailAddress"],
    }


def _email_not_given() -> Schema:
    return {
        "type": "object",
        "properties": {
            "status": {"enum": [EmailStatus.DECLINED.value, EmailStatus.DEFERRED.value]},
            "emailAddress": {"type": ["string", "null"], "pattern": r"^\s*$"},
        },
        "required": ["status"],
    }


def with_types(node: object) -> object:
    """Return the document with a `type` beside every `enum` and `const` of strings.

    Client generators map a schema without `type` to `unknown`.
    """
    if isinstance(node, list):
        return [with_types(one) for one in node]
    if not isinstance(node, dict):
        return node
    typed = {name: with_types(one) for name, one in node.items()}
    values = typed.get("enum", [typed["const"]] if "const" in typed else None)
    if isinstance(values, list) and all(isinstance(one, str) for one in values):
        typed = {"type": "string"} | typed
    return typed

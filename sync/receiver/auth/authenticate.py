"""Authentication of agents by bearer token."""

from datetime import datetime
from http import HTTPStatus

from aiohttp import hdrs, web

from sync.protocol.wire import ErrorCode
from sync.receiver.auth.enrolment import Enrolment
from sync.receiver.auth.tokens import AgentName, EnrolledAgent
from sync.runtime.network.http_errors import HttpError

_SENDER = web.RequestKey("sender", AgentName)


class WrongSenderError(HttpError):
    """A token was used for another store or till than its own."""


async def authenticate_agent(
    request: web.Request, enrolment: Enrolment, at: datetime
) -> EnrolledAgent:
    """Return the agent whose token the request bears. Raises `HttpError` (401) otherwise."""
    token = bearer_token(request)
    agent = await enrolment.authenticate(token, at) if token else None
    if agent is None:
        raise unauthorized("This request requires the token of an enrolled agent")
    request[_SENDER] = agent.name
    return agent


def sender_of(request: web.BaseRequest) -> AgentName | None:
    """Return the authenticated agent of the request; None before authentication."""
    return request.get(_SENDER)


def check_sender(agent: EnrolledAgent, store_id: str, till_id: str) -> None:
    """Raise `HttpError` (403) unless the store and till in the body are those of the token."""
    if AgentName(store_id, till_id) != agent.name:
        raise WrongSenderError(
            HTTPStatus.FORBIDDEN, "The token belongs to another store or till", ErrorCode.FORBIDDEN
        )


def bearer_token(request: web.Request) -> str:
    """Return the request's bearer token; empty if there is none."""
    scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    return token if scheme.lower() == "bearer" else ""


def unauthorized(message: str) -> HttpError:
    """Return a 401."""
    return HttpError(
        HTTPStatus.UNAUTHORIZED, message, ErrorCode.UNAUTHORIZED, {"WWW-Authenticate": "Bearer"}
    )

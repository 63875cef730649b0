"""Reference for the capture benchmark: a conventional service with FastAPI and SQLModel.

Written after the two frameworks' tutorials, with the agent's durability: one session and one
commit per request, SQLite in WAL mode with synchronous=FULL. `python -m
tests.bench.peers.fastapi_sqlmodel --port N --directory DIR`.
"""

import argparse
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, Self

import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, EmailStr, model_validator
from pydantic import Field as Limits
from sqlalchemy import Engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry
from sqlmodel import Field, Session, SQLModel, create_engine, select

from tests.bench.peers.terms import EMAIL_ANSWER, SESSION_ANSWER

NO_SESSION = "The document path provided in the update expression is invalid for update"


class SessionRow(SQLModel, table=True):
    """A started session."""

    __tablename__ = "session"
    id: int | None = Field(default=None, primary_key=True)
    correlation_id: str = Field(unique=True, index=True, max_length=128)
    external_identifier: str | None
    channel: str | None
    locale: str | None
    anonymous_session_id: str | None
    captured_at: datetime


class EmailRow(SQLModel, table=True):
    """An e-mail answer in a session."""

    __tablename__ = "email_answer"
    id: int | None = Field(default=None, primary_key=True)
    session_id: int = Field(foreign_key="session.id", index=True)
    status: str
    email_address: str | None
    captured_at: datetime


class SessionStart(BaseModel):
    """The body of a session start."""

    correlationId: str = Limits(min_length=1, max_length=128)  # noqa: N815 - the page's names
    externalIdentifier: str | None = None  # noqa: N815 - the page's names
    channel: str | None = None
    locale: str | None = None
    anonymousSessionId: str | None = None  # noqa: N815 - the page's names


class RedemptionRules(BaseModel):
    """The rules in the answer to a session start."""

    minRedeemPoints: int  # noqa: N815 - the page's names
    minRedeemAmount: float | int  # noqa: N815 - the page's names
    maxRedeemPoints: int  # noqa: N815 - the page's names
    maxRedeemAmount: float | int  # noqa: N815 - the page's names
    redeemIncrementPoints: int  # noqa: N815 - the page's names
    redeemIncrementAmount: float | int  # noqa: N815 - the page's names
    currency: str


class SessionAnswer(BaseModel):
    """The answer to a session start."""

    loyaltyId: str  # noqa: N815 - the page's names
    membershipType: str  # noqa: N815 - the page's names
    status: str
    prompt: str
    isValid: bool  # noqa: N815 - the page's names
    promptMessage: str  # noqa: N815 - the page's names
    receiptMessage: str  # noqa: N815 - the page's names
    pointsBalance: int  # noqa: N815 - the page's names
    userMaxRedeemDollars: int  # noqa: N815 - the page's names
    redemptionRules: RedemptionRules  # noqa: N815 - the page's names
    sessionCorrelationId: str  # noqa: N815 - the page's names
    receiptPreference: str  # noqa: N815 - the page's names


class EmailAnswer(BaseModel):
    """The body of an e-mail answer."""

    status: Literal["accepted", "deferred", "declined"]
    emailAddress: EmailStr | None = None  # noqa: N815 - the page's names

    @model_validator(mode="after")
    def address_if_accepted(self) -> Self:
        """Require an address exactly if the status is accepted."""
        if (self.status == "accepted") != (self.emailAddress is not None):
            raise ValueError("Email address is required with accepted, not expected otherwise")
        return self


class Message(BaseModel):
    """The answer to an e-mail answer."""

    message: str


app = FastAPI(openapi_url=None)


def database_session(request: Request) -> Iterator[Session]:
    """Yield a new database session for a request."""
    with Session(request.app.state.engine) as session:
        yield session


Database = Annotated[Session, Depends(database_session)]


@app.get("/readyz", response_class=PlainTextResponse)
def ready() -> str:
    """Answer the readiness check."""
    return "ready"


@app.post("/client/users/anonymous/sessions")
def start_session(start: SessionStart, database: Database) -> SessionAnswer:
    """Record a session start and answer it."""
    if find_session(database, start.correlationId) is not None:
        raise HTTPException(400, "Invalid Correlation ID")
    database.add(
        SessionRow(
            correlation_id=start.correlationId,
            external_identifier=start.externalIdentifier,
            channel=start.channel,
            locale=start.locale,
            anonymous_session_id=start.anonymousSessionId,
            captured_at=datetime.now(UTC),
        )
    )
    database.commit()
    return SessionAnswer.model_validate(
        SESSION_ANSWER | {"sessionCorrelationId": start.correlationId}
    )


@app.put("/client/users/{correlation_id}/profile/email")
def answer_email(correlation_id: str, answer: EmailAnswer, database: Database) -> Message:
    """Record an e-mail answer."""
    session = find_session(database, correlation_id)
    if session is None or session.id is None:
        raise HTTPException(400, NO_SESSION)
    database.add(
        EmailRow(
            session_id=session.id,
            status=answer.status,
            email_address=answer.emailAddress,
            captured_at=datetime.now(UTC),
        )
    )
    database.commit()
    return Message.model_validate(EMAIL_ANSWER)


def find_session(database: Session, correlation_id: str) -> SessionRow | None:
    """Return the session with this correlation ID, or None."""
    wanted = select(SessionRow).where(SessionRow.correlation_id == correlation_id)
    return database.exec(wanted).first()


def open_database(directory: Path) -> Engine:
    """Open the database; writers wait for the lock instead of failing."""
    engine = create_engine(
        f"sqlite:///{directory / 'peer.db'}",
        connect_args={"check_same_thread": False, "timeout": 60},
    )
    event.listen(engine, "connect", make_durable)
    SQLModel.metadata.create_all(engine)
    return engine


def make_durable(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    """Set the agent's durability: every commit is synced."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def main() -> None:
    """Serve until stopped."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--directory", type=Path, required=True)
    options = parser.parse_args()
    app.state.engine = open_database(options.directory)
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=options.port,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main()

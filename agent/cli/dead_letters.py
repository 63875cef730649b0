"""`loyalty-agent dead-letters`: list, show, retry, set aside and discard dead letters."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Annotated

import typer

from agent.cli.client import AGENT, AgentClient, agent_client
from agent.cli.terminal_language import language_of_output, plain_spaces
from agent.facts import Receipt
from sync.protocol.wire import EventType
from sync.runtime.cli.command_group import ConfigFile
from sync.runtime.cli.listing import JsonOption, Listing
from sync.runtime.cli.printing import echo, echo_json_text, print_entries, print_values
from sync.runtime.cli.program import ExitCode
from sync.runtime.i18n import DEFAULT

_PATH = "/agent/v1/dead-letters"

DeadLetterNumber = Annotated[
    str, typer.Argument(metavar="EPOCH/SEQUENCE", help="Its number, as shown by `list`.")
]

dead_letters = typer.Typer(
    help="List, retry and discard dead letters: rejected and stuck captures.",
    no_args_is_help=True,
)


@dead_letters.command("list")
def list_dead_letters(
    config: ConfigFile = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """List all dead letters, without e-mail addresses. The exit code is 1 if there are any.

    Stuck captures are among them: head office gives no verdict on these, though it answers other
    requests.
    """
    with agent_client(config) as client:
        letters = chain.from_iterable(_pages(client))
        if as_json:
            number = _print_json(letters)
        else:
            entries = [_entry(letter) for letter in letters]
            number = len(entries)
            _print(entries)
    raise typer.Exit(ExitCode.PROBLEM if number else ExitCode.OK)


def _print_json(letters: Iterable[dict[str, object]]) -> int:
    """Print the array that the agent's own API returns, of any length; return the number."""
    listing = Listing(None, as_json=True)
    for letter in letters:
        listing.add(letter)
    return listing.end()


def _print(entries: list[dict[str, object]]) -> None:
    if entries:
        say = language_of_output()
        title = _say("title", count=say.number(len(entries)))
        print_entries(title, [_named(entry) for entry in entries])
    else:
        echo(_say("none"))


@dead_letters.command()
def show(
    number: DeadLetterNumber, config: ConfigFile = None, *, as_json: JsonOption = False
) -> None:
    """Show the details of one dead letter."""
    with agent_client(config) as client:
        letter = client.request("GET", _path_of(number))
    if as_json:
        echo_json_text(letter.text)
    else:
        print_values(_say("one"), _named(letter.members))


@dead_letters.command()
def retry(number: DeadLetterNumber, config: ConfigFile = None) -> None:
    """Retry one dead letter. A session start takes its e-mail answers along."""
    with agent_client(config) as client:
        client.request("POST", f"{_path_of(number)}/retry", as_admin=True)
    echo(_say("queued", number=number))


@dead_letters.command()
def set_aside(number: DeadLetterNumber, config: ConfigFile = None) -> None:
    """Make a stuck capture a dead letter now.

    It is not sent again by itself before tomorrow.
    """
    with agent_client(config) as client:
        client.request("POST", f"{_path_of(number)}/set-aside", as_admin=True)
    echo(_say("set_aside", number=number))


@dead_letters.command()
def discard(number: DeadLetterNumber, config: ConfigFile = None) -> None:
    """Discard one dead letter and erase its address.

    If it is a session start, its e-mail answers remain dead letters; they are listed.
    """
    with agent_client(config) as client:
        path = f"{_path_of(number)}/discard"
        discarded = client.request("POST", path, as_admin=True).members
        echo(_say("discarded", number=number))
        is_session = discarded.get("type") == EventType.SESSION_STARTED
        remaining = list(chain.from_iterable(_pages(client))) if is_session else []
    for letter in remaining:
        if letter["correlationId"] == discarded["correlationId"]:
            echo(_say("answer_remains", number=_number_of(letter)))


def _say(name: str, **values: object) -> str:
    return plain_spaces(language_of_output()(f"dead_letters.{name}", **values))


def _named(letter: Mapping[str, object]) -> dict[str, object]:
    """Return the fields of a dead letter with their names in the language of the terminal."""
    say = language_of_output()
    if say.code == DEFAULT:
        return dict(letter)
    return {
        say(f"letter.{name}") if say.has(f"letter.{name}") else name: value
        for name, value in letter.items()
    }


def _path_of(number: str) -> str:
    """Return the path of a dead letter; exit with code 2 if its number is malformed."""
    if Receipt.read(number) is None:
        message = f"{number!r} is not EPOCH/SEQUENCE: see {AGENT.name} dead-letters list"
        AGENT.fail(message, ExitCode.USAGE)
    return f"{_PATH}/{number}"


def _pages(client: AgentClient) -> Iterator[list[dict[str, object]]]:
    """Yield all dead letters: request pages until one is empty."""
    after = ""
    while isinstance(page := client.request("GET", _PATH + after).value, list) and page:
        yield page
        after = f"?after={_number_of(page[-1])}"


def _number_of(letter: dict[str, object]) -> str:
    return f"{letter['epoch']}/{letter['sequence']}"


def _entry(letter: dict[str, object]) -> dict[str, object]:
    """Return the fields of a dead letter that `list` prints."""
    return {
        "number": _number_of(letter),
        "type": letter.get("type"),
        "code": letter.get("errorCode"),
        "message": letter.get("errorMessage"),
        "rejected": letter.get("refusedAt"),
        "attempts": letter.get("attempts"),
        # Last: scripts cut columns by their number.
        "state": letter.get("state"),
    }

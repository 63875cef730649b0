"""The list of machines of `loyalty-hq enroll --csv`."""

from pathlib import Path

from sync.receiver.auth.enrolment_csv import EnrolmentListError, parse_list
from sync.receiver.auth.tokens import AgentName
from sync.receiver.cli.hq import HEAD_OFFICE


def read_machines(list_file: Path, nothing_done: str) -> list[AgentName]:
    """Return the machines of a list; for one with errors print them all and exit with code 2."""
    try:
        return parse_list(list_file.read_text("utf-8"))
    except OSError as error:
        HEAD_OFFICE.refuse(f"cannot read {list_file} ({error.strerror})")
    except UnicodeDecodeError:
        HEAD_OFFICE.refuse(f"{list_file}: expected text in UTF-8")
    except EnrolmentListError as error:
        HEAD_OFFICE.refuse(f"{list_file}: {nothing_done}:\n  {error}")

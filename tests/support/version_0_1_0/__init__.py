"""State directories written by version 0.1.0: its agent's, and its receiver's on SQLite.

Both were stopped in order. The agent (store 0042, till-1) captured sessions a-1 to a-8 and three
answers; head office has received the first seven events, and rejected sequences 2 and 7. It also
has one duplicate and one gap of an older epoch.
"""

from pathlib import Path
from zipfile import ZipFile

AGENT = Path(__file__).with_name("agent-0.1.0.zip")
HEAD_OFFICE = Path(__file__).with_name("head-office-0.1.0.zip")
# Program and name of each setting that it had.
SETTINGS = Path(__file__).with_name("settings.txt")


def unpack(archive: Path, directory: Path) -> Path:
    """Extract a state directory, its files readable by their owner only; return it."""
    directory.mkdir(mode=0o700)
    with ZipFile(archive) as files:
        files.extractall(directory)
    for file in directory.iterdir():
        file.chmod(0o600)
    return directory

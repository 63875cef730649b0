"""Helpers to quarantine a store and salvage it within the test's process."""

import asyncio
from pathlib import Path

from agent.store.db.connect import DATABASE_FILE
from agent.store.files.quarantine import quarantine
from agent.store.recovery.erase import erase_delivered
from agent.store.recovery.extract import extract
from agent.store.recovery.salvage import Salvage
from tests.support.agent.outbox import OutboxRig, outbox_on
from tests.support.agent.store import AT, EpochIds, answer, change, session


async def extract_here(place: Path, mark_position: int) -> None:
    """Extract in a thread instead of a process, without pauses."""
    await asyncio.to_thread(extract, place, mark_position, ignore_pause)


async def erase_here(place: Path) -> None:
    """Erase in a thread instead of a process, without pauses."""
    await asyncio.to_thread(erase_delivered, place, ignore_pause)


def ignore_pause(_seconds: float) -> None:
    """Do not pause."""


def set_aside(directory: Path) -> Path:
    """Quarantine the database of a closed store; return its directory."""
    return quarantine(directory / DATABASE_FILE, AT.wall_us).parent


async def four_set_aside(directory: Path, *changes: str) -> EpochIds:
    """Record four captures, change the file, and set it aside."""
    epochs = EpochIds()
    async with outbox_on(directory, epochs=epochs) as rig:
        await rig.capture(session("one"), answer("one"), session("two"), answer("two"))
    change(directory, *changes)
    set_aside(directory)
    return epochs


def salvage_of(rig: OutboxRig) -> Salvage:
    """Return the salvage of this store."""
    return Salvage(rig.outbox.access, rig.directory, 0, extract_here, erase_here)

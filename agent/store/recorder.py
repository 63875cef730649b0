"""Runs groups of captures and jobs on the store; recovers from failures. Writer's thread only."""

from collections.abc import Callable, Sequence
from time import perf_counter

from agent.facts import Capture, Outcome, Timestamp
from agent.store.files.storage_errors import StorageError, StorageMovedError
from agent.store.journal.journal import Group
from agent.store.reopening import ReopeningStore
from agent.store.store import Store


class Recorder:
    """Records groups and runs jobs; errors are returned, one for each capture or job.

    `on_commit` gets the captures and seconds of each commit. `before_write` is called when the
    store is about to be busy for long: between the decision about a group and its write.
    """

    def __init__(
        self,
        store: ReopeningStore,
        on_commit: Callable[[int, float], None],
        before_write: Callable[[], None],
    ) -> None:
        self._store = store
        self._on_commit = on_commit
        self._before_write = before_write

    def record(
        self,
        captures: Sequence[tuple[Capture, Timestamp]],
        *,
        retry: bool = True,
        failed: Group | None = None,
    ) -> Sequence[object]:
        """Record a group in one transaction; return an outcome or an exception for each.

        `failed`: the same group after a commit that reported an error. If its rows are in the file
        all the same, it is not written again.
        """
        started, group = perf_counter(), None
        try:
            store = self._store.get()
            if failed is not None and store.holds(failed):
                outcomes: Sequence[Outcome] = failed.outcomes
            else:
                group = store.decide(captures)
                self._before_write()
                outcomes = store.write(group)
        except StorageError as error:
            reason = self._store.recover_from(error)
            if retry and reason is None:
                return self.record(captures, retry=False, failed=group)
            return [reason or error] * len(captures)
        except Exception as error:  # noqa: BLE001 - one bad capture must not fail its group
            if len(captures) == 1:
                return [error]
            return [self.record([one], retry=retry)[0] for one in captures]
        self._on_commit(len(captures), perf_counter() - started)
        return outcomes

    def run(self, job: Callable[[Store], object], *, retry: bool = True) -> object:
        """Return the result of `job`, or the exception that it raised."""
        try:
            return job(self._store.get())
        except StorageError as error:
            reason = self._store.recover_from(error)
            if retry and reason is None and isinstance(error, StorageMovedError):
                # Found before the job did anything.
                return self.run(job, retry=False)
            return reason or error
        except Exception as error:  # noqa: BLE001 - raised in the coroutine that waits for the job
            return error

    def checkpoint_if_due(self, *, is_idle: bool) -> None:
        """Copy the WAL into the database file if it has grown."""
        if self._store.needs_checkpoint(is_idle=is_idle):
            self._before_write()
            try:
                self._store.get().checkpoint()
            except StorageError as error:
                self._store.recover_from(error)

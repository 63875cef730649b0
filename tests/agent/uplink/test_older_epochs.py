"""A heartbeat names a bounded number of older epochs; each has its turn."""

from agent.store.queries.epoch_progress import EpochProgress
from agent.uplink.heartbeat_message import MAX_OLDER_EPOCHS, older_epochs


def epochs(count: int) -> list[EpochProgress]:
    return [EpochProgress(f"{number:04}", 1, 1) for number in range(count)]


def test_few_older_epochs_are_all_named() -> None:
    assert older_epochs(epochs(MAX_OLDER_EPOCHS), 7) == epochs(MAX_OLDER_EPOCHS)


def test_many_older_epochs_take_turns_and_the_newest_are_always_named() -> None:
    every = epochs(1_033)

    named = [older_epochs(every, turn) for turn in range(25)]

    assert max(map(len, named)) <= MAX_OLDER_EPOCHS
    assert {one.epoch for some in named for one in some} == {one.epoch for one in every}
    assert all(some[-1] == every[-1] for some in named)

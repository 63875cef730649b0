"""A costly question is asked once for all, and again when its answer is old."""

import asyncio
from dataclasses import dataclass, field

import pytest

from sync.receiver.reports.cached import Remembered


@dataclass(slots=True)
class Oracle:
    """Answers by counting; an answer waits until `free` is set."""

    free: asyncio.Event = field(default_factory=asyncio.Event)
    asked: int = 0
    is_broken: bool = False
    seconds: float = 0.0

    async def ask(self) -> int:
        self.asked += 1
        await self.free.wait()
        if self.is_broken:
            raise OSError("no answer")
        return self.asked

    def now_seconds(self) -> float:
        return self.seconds


@pytest.fixture
def oracle() -> Oracle:
    return Oracle()


@pytest.fixture
def remembered(oracle: Oracle) -> Remembered[int]:
    return Remembered(oracle.ask, 10, oracle.now_seconds)


async def test_all_who_ask_at_once_wait_for_one_answer(
    oracle: Oracle, remembered: Remembered[int]
) -> None:
    asking = asyncio.gather(*(remembered.get() for _ in range(9)))
    await asyncio.sleep(0)
    oracle.free.set()

    assert await asking == [1] * 9


async def test_an_answer_is_good_for_its_time_and_no_longer(
    oracle: Oracle, remembered: Remembered[int]
) -> None:
    oracle.free.set()
    answers = []
    for oracle.seconds in (0, 9.9, 10, 19.9, 20):
        answers.append(await remembered.get())

    assert answers == [1, 1, 2, 2, 3]


async def test_the_time_counts_from_the_answer(oracle: Oracle, remembered: Remembered[int]) -> None:
    asking = asyncio.ensure_future(remembered.get())
    await asyncio.sleep(0)
    oracle.seconds = 100
    oracle.free.set()
    await asking

    oracle.seconds = 109

    assert await remembered.get() == 1


async def test_an_error_is_nobodys_answer(oracle: Oracle, remembered: Remembered[int]) -> None:
    oracle.free.set()
    oracle.is_broken = True
    with pytest.raises(OSError, match="no answer"):
        await remembered.get()
    oracle.is_broken = False

    assert await remembered.get() == 2


async def test_whoever_gives_up_leaves_the_question_to_the_next(
    oracle: Oracle, remembered: Remembered[int]
) -> None:
    impatient = asyncio.ensure_future(remembered.get())
    await asyncio.sleep(0)
    patient = asyncio.ensure_future(remembered.get())
    impatient.cancel()
    oracle.free.set()

    assert await patient == 2

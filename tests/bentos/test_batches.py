"""What waits together is computed together, and nothing waits for nothing."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from perennial_bento.batches import Batcher

ROW = {"miles": 1}


class Doubling:
    """Doubles numbers, remembers its batches, and can be held up."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.threads: list[str] = []
        self.may_go = threading.Event()
        self.may_go.set()

    def __call__(self, asked):
        self.batches.append(list(asked))
        self.threads.append(threading.current_thread().name)
        assert self.may_go.wait(10)
        return [ValueError(f"{number} is odd") if number % 2 else 2 * number for number in asked]


@pytest.fixture
def worker():
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="model") as executor:
        yield executor


def submit_all(doubling, worker, numbers, *, inline_rows=10, n_rows=1):
    async def run():
        batcher = Batcher(doubling, worker=worker, inline_rows=inline_rows)
        return await asyncio.gather(*(batcher.submit(number, [ROW] * n_rows) for number in numbers), return_exceptions=True)

    return asyncio.run(run())


def test_requests_of_one_turn_are_one_batch_and_each_gets_its_own_result(worker):
    doubling = Doubling()
    assert submit_all(doubling, worker, [2, 4, 6]) == [4, 8, 12]
    assert doubling.batches == [[2, 4, 6]]
    assert doubling.threads == [threading.current_thread().name]


def test_an_error_of_one_is_raised_for_that_one_only(worker):
    first, second, third = submit_all(Doubling(), worker, [2, 3, 4])
    assert (first, third) == (4, 8)
    assert isinstance(second, ValueError)


def test_many_rows_are_computed_on_the_worker_thread(worker):
    doubling = Doubling()
    assert submit_all(doubling, worker, [2, 4], n_rows=6) == [4, 8]
    assert doubling.batches == [[2, 4]] and doubling.threads[0].startswith("model")


def test_what_arrives_while_the_worker_is_busy_is_its_next_batch(worker):
    doubling = Doubling()
    doubling.may_go.clear()

    async def run():
        batcher = Batcher(doubling, worker=worker, inline_rows=0)
        first = asyncio.ensure_future(batcher.submit(2, [ROW]))
        while not doubling.batches:
            await asyncio.sleep(0)
        others = [asyncio.ensure_future(batcher.submit(number, [ROW])) for number in (4, 6, 8)]
        await asyncio.sleep(0)
        doubling.may_go.set()
        return await asyncio.gather(first, *others)

    assert asyncio.run(run()) == [4, 8, 12, 16]
    assert doubling.batches == [[2], [4, 6, 8]]


def test_a_caller_who_stopped_waiting_does_not_disturb_the_others(worker):
    doubling = Doubling()

    async def run():
        batcher = Batcher(doubling, worker=worker, inline_rows=10)
        gone, there = (asyncio.ensure_future(batcher.submit(number, [ROW])) for number in (2, 4))
        gone.cancel()
        return await asyncio.gather(gone, there, return_exceptions=True)

    gone, there = asyncio.run(run())
    assert isinstance(gone, asyncio.CancelledError) and there == 8
    assert doubling.batches == [[4]], "what nobody waits for is not computed"


def broken(asked):
    raise OSError("no space left on device")


def silent(asked):
    return [2 * number for number in asked if number != 4]


@pytest.mark.parametrize("inline_rows", [0, 10])
@pytest.mark.parametrize(("fault", "error"), [(broken, OSError), (silent, RuntimeError)])
def test_a_batch_that_cannot_be_computed_fails_and_the_next_one_is_computed(worker, inline_rows, fault, error):
    computing = threading.Event()

    def compute(asked):
        if asked[0] == 2:
            assert inline_rows or computing.wait(10)
            return fault(asked)
        return [2 * number for number in asked]

    async def run():
        batcher = Batcher(compute, worker=worker, inline_rows=inline_rows)
        failing = [asyncio.ensure_future(batcher.submit(number, [ROW])) for number in (2, 4)]
        await asyncio.sleep(0.01)
        following = asyncio.ensure_future(batcher.submit(6, [ROW]))
        await asyncio.sleep(0)
        computing.set()
        failed = await asyncio.wait_for(asyncio.gather(*failing, return_exceptions=True), 5)
        return failed, await asyncio.wait_for(following, 5), await asyncio.wait_for(batcher.submit(8, [ROW]), 5)

    failed, *computed = asyncio.run(run())
    assert [type(each) for each in failed] == [error] * 2
    assert computed == [12, 16]


def test_without_its_worker_a_batch_fails_at_once():
    with ThreadPoolExecutor(max_workers=1) as stopped:
        pass
    (failed,) = submit_all(Doubling(), stopped, [2], inline_rows=0)
    assert isinstance(failed, RuntimeError)

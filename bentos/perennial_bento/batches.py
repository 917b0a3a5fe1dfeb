"""Requests that wait together are computed together."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Generic, TypeVar

from perennial.core.frames import Rows

Asked = TypeVar("Asked")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Waiting(Generic[Asked, Result]):
    asked: Asked
    n_rows: int
    result: asyncio.Future[Result]


class Batcher(Generic[Asked, Result]):
    """Collects what arrives in one turn of the event loop. There is no timer: a lone request never waits for another.

    Parameters
    ----------
    compute
        Answers a whole batch: one result or one error for each that asked.
    worker
        Where batches of more than `inline_rows` rows are computed, one at a time; what arrives meanwhile is the next batch.
        Smaller ones are computed on the event loop itself, which costs less than handing them over.
    """

    def __init__(
        self, compute: Callable[[Sequence[Asked]], Sequence[Result | Exception]], *, worker: Executor, inline_rows: int
    ) -> None:
        self._compute = compute
        self._worker = worker
        self._inline_rows = inline_rows
        self._waiting: list[_Waiting[Asked, Result]] = []
        self._is_busy = False

    def submit(self, asked: Asked, rows: Rows) -> "asyncio.Future[Result]":
        """The result for one request, computed with others that wait; the error that its own computing raised.

        Cancelled before its batch is taken, the request is never computed.
        """
        loop = asyncio.get_running_loop()
        waiting: _Waiting[Asked, Result] = _Waiting(asked=asked, n_rows=len(rows), result=loop.create_future())
        self._waiting.append(waiting)
        if len(self._waiting) == 1 and not self._is_busy:
            loop.call_soon(self._take)
        return waiting.result

    def may_wait(self, rows: Rows) -> bool:
        """Whether a request of these rows would be computed later than in the next turn of the event loop."""
        return self._is_busy or len(rows) > self._inline_rows

    def _take(self) -> None:
        batch = [each for each in self._waiting if not each.result.done()]
        self._waiting = []
        if sum(each.n_rows for each in batch) <= self._inline_rows:
            _settle(batch, self._results(batch))
            return
        loop = asyncio.get_running_loop()
        try:
            computing = loop.run_in_executor(self._worker, self._results, batch)
        except RuntimeError as error:
            # The worker was shut down.
            _settle(batch, [error] * len(batch))
            return
        self._is_busy = True
        computing.add_done_callback(lambda done: self._finish(batch, done))

    def _results(self, batch: Sequence[_Waiting[Asked, Result]]) -> Sequence[Result | Exception]:
        """One result or error for each, whatever happens: a request that nobody settles would wait for ever."""
        try:
            results = self._compute([each.asked for each in batch])
            if len(results) != len(batch):
                raise RuntimeError(f"{len(results)} results for a batch of {len(batch)}")
        except Exception as error:
            return [error] * len(batch)
        return results

    def _finish(self, batch: Sequence[_Waiting[Asked, Result]], computed: "asyncio.Future[Sequence[Result | Exception]]") -> None:
        self._is_busy = False
        try:
            _settle(batch, [RuntimeError("the worker was stopped")] * len(batch) if computed.cancelled() else computed.result())
        finally:
            if self._waiting:
                self._take()


def _settle(batch: Sequence[_Waiting[Asked, Result]], results: Sequence[Result | Exception]) -> None:
    for waiting, result in zip(batch, results, strict=True):
        if waiting.result.done():
            continue
        if isinstance(result, StopIteration):
            # A future refuses it: it would end the one who awaits.
            waiting.result.set_exception(RuntimeError("the model raised StopIteration"))
        elif isinstance(result, Exception):
            waiting.result.set_exception(result)
        else:
            waiting.result.set_result(result)

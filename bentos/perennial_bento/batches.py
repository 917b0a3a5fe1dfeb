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

    async def submit(self, asked: Asked, rows: Rows) -> Result:
        """The result for one request, computed with others that wait. Raises the error that its own computing raised."""
        loop = asyncio.get_running_loop()
        waiting: _Waiting[Asked, Result] = _Waiting(asked=asked, n_rows=len(rows), result=loop.create_future())
        self._waiting.append(waiting)
        if len(self._waiting) == 1 and not self._is_busy:
            loop.call_soon(self._take)
        return await waiting.result

    def _take(self) -> None:
        batch, self._waiting = self._waiting, []
        if sum(each.n_rows for each in batch) <= self._inline_rows:
            _settle(batch, self._compute([each.asked for each in batch]))
            return
        self._is_busy = True
        loop = asyncio.get_running_loop()
        computing = loop.run_in_executor(self._worker, self._compute, [each.asked for each in batch])
        computing.add_done_callback(lambda done: self._finish(batch, done))

    def _finish(self, batch: Sequence[_Waiting[Asked, Result]], computed: "asyncio.Future[Sequence[Result | Exception]]") -> None:
        self._is_busy = False
        if not computed.cancelled():
            _settle(batch, computed.result())
        if self._waiting:
            self._take()


def _settle(batch: Sequence[_Waiting[Asked, Result]], results: Sequence[Result | Exception]) -> None:
    for waiting, result in zip(batch, results, strict=True):
        if waiting.result.done():
            continue
        if isinstance(result, Exception):
            waiting.result.set_exception(result)
        else:
            waiting.result.set_result(result)

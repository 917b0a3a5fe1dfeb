"""Work that waits: only so much of it, and none for callers who have gone."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

from perennial_bento.answers import Message
from perennial_bento.requests import Refusal

Receive = Callable[[], Awaitable[Message]]
Result = TypeVar("Result")


class Disconnected(Exception):
    """The caller went away before there was an answer."""


class Room:
    """How much may be asked and not yet answered. What goes beyond is refused at once, rather than answered too late.

    Parameters
    ----------
    most
        A request that is more than this alone is let in where nothing else is.
    """

    def __init__(self, most: int, unit: str) -> None:
        self._most = most
        self._unit = unit
        self._taken = 0

    @contextlib.contextmanager
    def take(self, number: int) -> Iterator[None]:
        """Hold room for as long as the block lasts.

        Raises
        ------
        Refusal
            503 `busy` where there is none.
        """
        if self._taken and self._taken + number > self._most:
            raise Refusal(
                503, "busy", message=f"{self._taken} {self._unit} wait already, of at most {self._most}: try again later"
            )
        self._taken += number
        try:
            yield
        finally:
            self._taken -= number


async def unless_gone(work: "asyncio.Future[Result]", receive: Receive) -> Result:
    """The result of work. If its caller goes away first it is given up: what nobody has begun by then is never done.

    Watching costs a task, so it is for work that waits for a thread.

    Raises
    ------
    Disconnected
        When the caller went away.
    """
    watching = asyncio.ensure_future(_wait_until_gone(receive))
    try:
        either: set[asyncio.Future[Any]] = {work, watching}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise Disconnected
        return work.result()
    finally:
        watching.cancel()
        work.cancel()


async def _wait_until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass

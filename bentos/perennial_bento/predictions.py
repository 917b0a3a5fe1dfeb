"""From the body of a request to predictions: checked one by one, predicted together, logged before they are answered."""

import asyncio
import math
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter

import orjson

from perennial.core.frames import Rows
from perennial.core.identity import Identities
from perennial.core.rows import count_unseen
from perennial_bento.answers import Answer
from perennial_bento.batches import Batcher
from perennial_bento.metrics import Metrics
from perennial_bento.model import Model
from perennial_bento.recorder import Line, Recorder
from perennial_bento.requests import MAX_ROWS, Call, read_rows
from perennial_bento.waiting import Receive, Room, unless_gone

# The class predicted is 1 from this probability on.
THRESHOLD = 0.5
MAX_EXPLAINED_ROWS = 100
# A body of more bytes is taken apart by the worker thread, so that health checks and small requests are answered meanwhile.
_LARGE_BODY_BYTES = 64 * 1024
# Ten of the largest requests. A fast form computes as many in about three seconds, a tenth of what the gateway waits.
MAX_WAITING_ROWS = 10 * MAX_ROWS
# Requests. Each may take a second, one is computed at a time, and who asked waits 30 seconds at most.
MAX_WAITING_EXPLANATIONS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    call: Call
    rows: Rows
    identities: Identities | None


class Predictions:
    """Answers `/predict` and `/explain` of a loaded model."""

    def __init__(self, model: Model, *, metrics: Metrics, recorder: Recorder) -> None:
        self._model = model
        self._metrics = metrics
        self._recorder = recorder
        self._worker: Executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")
        # Explanations take long; they must not stand in the way of predictions.
        self._explaining: Executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="explain")
        self._batcher = Batcher(self._answer_all, worker=self._worker, inline_rows=model.inline_rows)
        self._rows = Room(MAX_WAITING_ROWS, "rows")
        self._explanations = Room(MAX_WAITING_EXPLANATIONS, "explanations")

    async def predict(self, call: Call, body: bytes, receive: Receive) -> Answer:
        if len(body) > _LARGE_BODY_BYTES:
            with self._rows.take(_most_rows(body)):
                return await self._on(self._worker, self._predict_large, call, body, receive=receive)
        asked = self._read(call, body)
        with self._rows.take(len(asked.rows)):
            may_wait = self._batcher.may_wait(asked.rows)
            answering = self._batcher.submit(asked, asked.rows)
            return await (unless_gone(answering, receive) if may_wait else answering)

    async def explain(self, call: Call, body: bytes, receive: Receive) -> Answer:
        with self._explanations.take(1):
            return await self._on(self._explaining, self._explain, call, body, receive=receive)

    async def _on(
        self, thread: Executor, answer: Callable[[Call, bytes], Answer], call: Call, body: bytes, *, receive: Receive
    ) -> Answer:
        return await unless_gone(asyncio.get_running_loop().run_in_executor(thread, answer, call, body), receive)

    def _predict_large(self, call: Call, body: bytes) -> Answer:
        (answer,) = self._answer_all([self._read(call, body)])
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _read(self, call: Call, body: bytes) -> _Asked:
        description = self._model.description
        rows, identities = read_rows(body, description.features, identity=description.identity)
        return _Asked(call=call, rows=rows, identities=identities)

    def _answer_all(self, batch: Sequence[_Asked]) -> list[Answer | Exception]:
        """Answers in the order of the batch. If the model fails, each is asked for alone: one's fault is not another's."""
        rows = batch[0].rows if len(batch) == 1 else [row for asked in batch for row in asked.rows]
        started = perf_counter()
        try:
            probabilities = self._model.probabilities(rows)
            if not all(map(math.isfinite, probabilities)):
                raise ArithmeticError("the model gave a probability that is no number")
        except Exception as error:
            return [error] if len(batch) == 1 else [answer for asked in batch for answer in self._answer_all([asked])]
        seconds = perf_counter() - started
        self._metrics.count_rows(len(rows), seconds=seconds, unseen=count_unseen(rows, self._model.categories))
        return self._answer_and_log(batch, probabilities)

    def _answer_and_log(self, batch: Sequence[_Asked], probabilities: list[float]) -> list[Answer | Exception]:
        answers: list[Answer | Exception] = []
        lines: list[Line | None] = []
        start = 0
        for asked in batch:
            own = probabilities[start : start + len(asked.rows)]
            start += len(asked.rows)
            answers.append(self._answer(asked.call, own))
            lines.append(
                self._recorder.line(asked.call, status=200, rows=asked.rows, probabilities=own, identities=asked.identities)
            )
        self._recorder.write(lines)
        return answers

    def _answer(self, call: Call, probabilities: list[float]) -> Answer:
        predictions = [{"label": int(each >= THRESHOLD), "probability": each} for each in probabilities]
        content = {**self._identity(call), "predictions": predictions}
        return Answer(status=200, body=orjson.dumps(content), n_rows=len(probabilities))

    def _explain(self, call: Call, body: bytes) -> Answer:
        description = self._model.description
        rows, _ = read_rows(body, description.features, identity=description.identity, max_rows=MAX_EXPLAINED_ROWS)
        explanations = [
            {"probability": probability, "contributions": contributions}
            for probability, contributions in self._model.explain(rows)
        ]
        content = {**self._identity(call), "base": self._model.base, "explanations": explanations}
        return Answer(status=200, body=orjson.dumps(content), n_rows=len(rows))

    def _identity(self, call: Call) -> dict[str, object]:
        description = self._model.description
        return {"request_id": call.request_id, "model": description.model, "version": description.version}


def _most_rows(body: bytes) -> int:
    """As many rows as a body may hold, without taking it apart: each begins with a brace. Large ones count by their size."""
    return min(max(body.count(b"{"), len(body) // 1024), MAX_ROWS)

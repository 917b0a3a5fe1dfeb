"""What callers saw while the champion was swapped, against what the tables say."""

import statistics
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import psycopg2

from perennial.config.settings import Settings
from support.serving.load import Answered, percentile

if TYPE_CHECKING:
    from support.serving.swaps import Swapped


def query(settings: Settings, sql: str, *values: object) -> list[tuple]:
    connection = psycopg2.connect(settings.state_url)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(sql, values)
            return cursor.fetchall()
    finally:
        connection.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenure:
    """When the gateway may have led callers to a version: by the tables, and until the switch away from it was through."""

    model_version: int
    since: float
    until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """The prediction log against the answers: all empty when each answered row is there exactly once."""

    missing: Collection[str]
    wrong: Mapping[str, tuple[object, object]]
    unanswered: Collection[str]

    @property
    def is_complete(self) -> bool:
        return not self.missing and not self.wrong


def compare_log(swapped: "Swapped") -> Logged:
    """Per request: the version that answered and its number of rows, each row once."""
    sql = """SELECT request_id, array_agg(DISTINCT model_version), count(*), count(DISTINCT row_number)
             FROM prediction WHERE model = %s AND kind = 'live' AND request_id LIKE %s GROUP BY request_id"""
    logged = {each[0]: each[1:] for each in query(swapped.settings, sql, *swapped.key)}
    answered = {each.request_id: ([int(each.model_version)], each.n_rows, each.n_rows) for each in swapped.load.good}
    assert len(answered) == len(swapped.load.good)
    return Logged(
        missing=sorted(set(answered) - set(logged)),
        wrong={key: (logged[key], value) for key, value in answered.items() if logged.get(key, value) != value},
        unanswered=sorted(set(logged) - set(answered)),
    )


def find_strays(swapped: "Swapped") -> list[Answered]:
    """Good answers of a version that was not live at any time while the request was under way."""
    tenures = read_tenures(swapped)

    def was_live(each: Answered) -> bool:
        return any(
            str(tenure.model_version) == each.model_version and tenure.since <= each.at and each.sent_at <= tenure.until
            for tenure in tenures
        )

    return [each for each in swapped.load.good if not was_live(each)]


def read_tenures(swapped: "Swapped") -> list[Tenure]:
    """Champions, and canaries until they were promoted. The gateway has left a version when the switch returns."""
    champions = """SELECT model_version, extract(epoch FROM valid_from)::float, extract(epoch FROM valid_to)::float
                   FROM champion WHERE model = %s"""
    canaries = """SELECT model_version, extract(epoch FROM min(started_at))::float, extract(epoch FROM max(ended_at))::float
                  FROM release_stage WHERE model = %s AND stage = 'canary' GROUP BY model_version"""
    rows = [*query(swapped.settings, champions, swapped.spec.model), *query(swapped.settings, canaries, swapped.spec.model)]
    return [Tenure(model_version=version, since=since, until=_left(swapped, until)) for version, since, until in rows]


def _left(swapped: "Swapped", until: float | None) -> float:
    if until is None:
        return float("inf")
    return next((each.ended_at for each in swapped.switches if each.started_at <= until <= each.ended_at), until)


def find_unexplained(swapped: "Swapped", *, within_seconds: float) -> list[Answered]:
    """Failures that are not what the docs allow: 503, or an answer cut off, of a request under way in the moment of a kill."""

    def is_explained(each: Answered) -> bool:
        during = (each.sent_at <= kill.gone_at + within_seconds and kill.at <= each.at for kill in swapped.kills)
        return each.status in (0, 503) and any(during)

    return [each for each in swapped.load.failed if not is_explained(each)]


def explain_failures(swapped: "Swapped") -> str:
    """What the gateway's log says of requests that failed, and how long after the last switch began each was sent."""
    failed = {each.request_id: each for each in swapped.load.failed}
    log = (swapped.settings.paths.logs / "gateway.log").read_text().splitlines()
    lines = [line for line in log if any(f'"{request_id}"' in line for request_id in failed)]
    switches = [(each.what, each.model_version, each.started_at, each.ended_at) for each in swapped.switches]
    return "\n".join([*map(str, failed.values()), *lines, *map(str, switches)])


def describe(swapped: "Swapped") -> dict[str, object]:
    """The figures of a run."""
    answered, good = swapped.load.answered, swapped.load.good
    seconds = max(each.at for each in answered) - min(each.sent_at for each in answered)
    latencies = [each.seconds * 1000 for each in good]
    rollbacks = [each.seconds for each in swapped.switches if each.what == "rollback"]
    return {
        "swaps": len(swapped.switches),
        "requests": len(answered),
        "requests per second": round(len(answered) / seconds),
        "answers other than 2xx": dict(Counter(str(each.status) for each in swapped.load.failed)),
        "error rate": len(swapped.load.failed) / len(answered),
        "answers by version": dict(sorted(swapped.load.versions.items())),
        "versions seen in turn": 1 + sum(a.model_version != b.model_version for a, b in pairwise(good)),
        "p50 ms": round(percentile(latencies, 0.5), 1),
        "p99 ms": round(percentile(latencies, 0.99), 1),
        "longest gap of a connection, s": round(swapped.load.longest_gap_seconds, 2),
        "rollback, median s": round(statistics.median(rollbacks), 2) if rollbacks else None,
        "rollback, slowest s": round(max(rollbacks), 2) if rollbacks else None,
        "answered again after a kill, s": [round(each.again_at - each.gone_at, 2) for each in swapped.kills],
        "switches refused while something was away": swapped.n_refused_switches,
    }

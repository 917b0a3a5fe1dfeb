"""Rows of one distribution, twenty columns like those of a real table, and what may happen to them on the way to a model."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

FEATURES = {
    "hour": ("integer", False),
    "weekday": ("integer", False),
    "distance": ("float", False),
    "minutes": ("float", False),
    "age": ("integer", True),
    "seats": ("integer", True),
    "temperature": ("float", False),
    "wind": ("float", False),
    "gust": ("float", True),
    "precipitation": ("float", False),
    "pressure": ("float", True),
    "visibility": ("float", False),
    "humidity": ("float", False),
    "late_1d": ("float", False),
    "late_3h": ("float", True),
    "is_holiday": ("boolean", False),
    "origin": ("category", False),
    "carrier": ("category", False),
    "destination": ("category", False),
    "engine": ("category", True),
    "voucher": ("category", True),
    "is_new": ("boolean", False),
    "surcharge": ("float", True),
    "tariff": ("category", False),
}
NUMBERS = ("distance", "minutes", "temperature", "wind", "gust", "pressure", "humidity", "late_1d", "late_3h")
# The most important of the numbers, by permutation.
IMPORTANT = "late_3h"
# Never filled while the model learned.
CONSTANT = ("is_new", "surcharge", "tariff")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """A table and its labels, 0 or 1, in the same order."""

    table: pd.DataFrame
    labels: np.ndarray


def draw(n: int, generator: np.random.Generator) -> Rows:
    """`n` independent rows whose labels follow `law`."""
    table = draw_table(n, generator)
    return Rows(table=table, labels=draw_labels(table, generator))


def draw_table(n: int, generator: np.random.Generator) -> pd.DataFrame:
    """Skewed, normal and discrete numbers, categories of 3 to 5,000 levels, missing values, and three columns without a use."""
    distance, wind = generator.lognormal(6.6, 0.6, n), generator.gamma(3, 3.5, n)
    columns = {
        "hour": generator.integers(5, 24, n),
        "weekday": generator.integers(1, 8, n),
        "distance": distance,
        "minutes": distance / 7.5 + generator.normal(40, 10, n),
        "age": gone(generator.gamma(2, 5, n).round(), 0.02, generator),
        "seats": gone(generator.choice([20, 55, 149, 182, 200, 379], n, p=[0.1, 0.3, 0.25, 0.2, 0.1, 0.05]), 0.02, generator),
        "temperature": generator.normal(45, 15, n),
        "wind": wind,
        "gust": gone(wind * generator.uniform(1.2, 1.6, n), 0.6, generator),
        "precipitation": np.where(generator.random(n) < 0.93, 0.0, generator.exponential(0.08, n)),
        "pressure": gone(generator.normal(1017, 7, n), 0.1, generator),
        "visibility": np.minimum(10.0, generator.lognormal(2.9, 0.8, n)).round(1),
        "humidity": 100 * generator.beta(4, 3, n),
        "late_1d": generator.beta(4, 14, n),
        "late_3h": gone(generator.beta(1.5, 5, n), 0.03, generator),
        "is_holiday": generator.random(n) < 0.04,
        "origin": levels("O", 3, n, generator, skew=0.3),
        "carrier": levels("C", 30, n, generator, skew=1.2),
        "destination": levels("D", 100, n, generator, skew=0.8),
        "engine": gone(levels("E", 5, n, generator, skew=1.0), 0.04, generator),
        "voucher": gone(levels("V", 5000, n, generator, skew=0.0), 0.94, generator),
        "is_new": np.zeros(n, dtype=bool),
        "surcharge": np.full(n, np.nan),
        "tariff": np.full(n, "standard", dtype=object),
    }
    return pd.DataFrame({name: pd.Series(values, dtype=values.dtype) for name, values in columns.items()})


def levels(prefix: str, n_levels: int, n: int, generator: np.random.Generator, *, skew: float) -> np.ndarray:
    """Categories whose shares fall off as a power of their rank."""
    weights = np.arange(1, n_levels + 1) ** -skew
    return np.array([f"{prefix}{each}" for each in generator.choice(n_levels, n, p=weights / weights.sum())], dtype=object)


def gone(values: np.ndarray, share: float, generator: np.random.Generator) -> np.ndarray:
    """The values, some of them missing."""
    is_gone = generator.random(len(values)) < share
    if values.dtype == object:
        return np.where(is_gone, None, values)
    return np.where(is_gone, np.nan, values.astype(np.float64))


def law(table: pd.DataFrame) -> np.ndarray:
    """Probability that each row is positive, whatever the rows are."""
    carrier, destination = (table[name].str[1:].astype(int).to_numpy() for name in ("carrier", "destination"))
    odds = (
        -3.4
        + 0.1 * (table["hour"].to_numpy() - 5)
        + 4.0 * np.nan_to_num(table["late_3h"].to_numpy(dtype=np.float64), nan=0.2)
        + 2.0 * table["late_1d"].to_numpy()
        + 0.5 * np.sin(carrier * 1.7)
        + 0.5 * np.sin(destination * 2.3)
        + 0.8 * (table["precipitation"].to_numpy() > 0)
        + 0.02 * (table["wind"].to_numpy() - 10)
        - 0.05 * table["visibility"].to_numpy()
    )
    return 1 / (1 + np.exp(-odds))


def draw_labels(table: pd.DataFrame, generator: np.random.Generator) -> np.ndarray:
    """Labels that follow the law."""
    return (generator.random(len(table)) < law(table)).astype(np.int8)


Change = Callable[[Rows, np.random.Generator], Rows]
"""What happened to the rows of a window before the model saw them, or to their labels after."""


def move(names: tuple[str, ...], by: float) -> Change:
    """Other rows come: numbers are higher by so many standard deviations, and the labels follow the law."""

    def change(rows: Rows, generator: np.random.Generator) -> Rows:
        moved = {name: rows.table[name] + by * rows.table[name].std() for name in names}
        table = rows.table.assign(**moved)
        return Rows(table=table, labels=draw_labels(table, generator))

    return change


def replace_some(name: str, value: object, share: float) -> Change:
    """A share of the rows has another value; their labels stay."""

    def change(rows: Rows, generator: np.random.Generator) -> Rows:
        is_other = generator.random(len(rows.table)) < share
        values = rows.table[name].to_numpy(copy=True)
        values[is_other] = value
        return replace(rows, table=rows.table.assign(**{name: pd.Series(values, dtype=values.dtype)}))

    return change


def multiply(name: str, by: float) -> Change:
    """A number comes in another unit."""
    return lambda rows, _: replace(rows, table=rows.table.assign(**{name: rows.table[name] * by}))


def flip(share: float) -> Change:
    """Concept drift: some labels are the opposite of what they were."""

    def change(rows: Rows, generator: np.random.Generator) -> Rows:
        is_flipped = generator.random(len(rows.labels)) < share
        return replace(rows, labels=np.where(is_flipped, 1 - rows.labels, rows.labels).astype(np.int8))

    return change


def choose_alike(rows: Rows, generator: np.random.Generator) -> Rows:
    """Covariate shift only: rows come oftener that the two most important features do not tell apart, by the same law."""
    told = 0.1 * rows.table["hour"] + 4.0 * rows.table[IMPORTANT].fillna(0.2)
    weights = np.exp(-2.0 * ((told - told.median()) / told.std()) ** 2).to_numpy()
    drawn = generator.choice(len(weights), len(weights), p=weights / weights.sum())
    table = rows.table.iloc[drawn].reset_index(drop=True)
    return Rows(table=table, labels=draw_labels(table, generator))


def renumber(rows: Rows, _: np.random.Generator) -> Rows:
    """A series of numbers that the model never used goes on: each that is there is new."""
    return replace(rows, table=rows.table.assign(voucher=rows.table["voucher"].str.replace("V", "W")))


def fill(n_columns: int) -> Change:
    """Columns that were constant come alive; the labels do not follow them."""

    def change(rows: Rows, generator: np.random.Generator) -> Rows:
        n = len(rows.table)
        alive = {
            "is_new": generator.random(n) < 0.5,
            "surcharge": generator.gamma(2, 5, n),
            "tariff": generator.choice(np.array(["standard", "light", "flex"], dtype=object), n),
        }
        return replace(rows, table=rows.table.assign(**{name: alive[name] for name in CONSTANT[:n_columns]}))

    return change


def lift(by: float) -> Change:
    """Every row is likelier to be positive, by so much in log-odds: the ranking stays, the probabilities do not."""

    def change(rows: Rows, generator: np.random.Generator) -> Rows:
        odds = np.log(law(rows.table) / (1 - law(rows.table)))
        return replace(rows, labels=(generator.random(len(rows.table)) < 1 / (1 + np.exp(-odds - by))).astype(np.int8))

    return change


CHANGES: dict[str, tuple[Change, str]] = {
    f"mean of {IMPORTANT} + 0.1 sd": (move((IMPORTANT,), 0.1), ""),
    f"mean of {IMPORTANT} + 0.25 sd": (move((IMPORTANT,), 0.25), ""),
    f"mean of {IMPORTANT} + 0.5 sd": (move((IMPORTANT,), 0.5), IMPORTANT),
    "means of 9 numbers + 0.1 sd": (move(NUMBERS, 0.1), ""),
    "means of 9 numbers + 0.25 sd": (move(NUMBERS, 0.25), ""),
    "means of 9 numbers + 0.5 sd": (move(NUMBERS, 0.5), IMPORTANT),
    "carrier C9: 2 % to 22 % of the rows": (replace_some("carrier", "C9", 0.2), "carrier"),
    "a new carrier: 10 % of the rows": (replace_some("carrier", "C99", 0.1), "carrier"),
    f"{IMPORTANT} missing: 3 % to 22 %": (replace_some(IMPORTANT, np.nan, 0.2), IMPORTANT),
    "distance in another unit (× 10)": (multiply("distance", 10), "distance"),
    "labels flipped: 10 %": (flip(0.1), ""),
    "labels flipped: 20 %": (flip(0.2), ""),
    "labels flipped: 50 %": (flip(0.5), ""),
    "labels likelier by 0.3 in log-odds": (lift(0.3), ""),
    "labels likelier by 0.6 in log-odds": (lift(0.6), ""),
    "labels rarer by 0.6 in log-odds": (lift(-0.6), ""),
    "hard rows come oftener (covariate only)": (choose_alike, ""),
    "all numbers of an id without importance are new": (renumber, ""),
    "a constant column comes alive": (fill(1), "is_new"),
    "three constant columns come alive": (fill(3), "tariff"),
}
"""By name what happens and, where it is one feature that should be named for it, which."""

"""Texts from the Jinja templates under `perennial/templates`: mails in HTML and plain text, model cards."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import cache
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment

_FOLDER = Path(__file__).parents[1] / "templates"
_UNDEFINED = "–"
_MINUS = "−"
_UNITS = ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


def render(template: str, values: Mapping[str, object]) -> str:
    """Fill in one template; a value that it names and that is missing is an error, and HTML is escaped."""
    return _environment().get_template(template).render(values)


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "number": format_number, "signed": format_signed, "count": format_count, "ratio": format_ratio, "instant": format_instant,
        "duration": format_duration, "cell": escape_cell,
    }  # fmt: skip
    return environment


def format_number(value: float | None) -> str:
    """Three digits after the point for shares and scores, fewer for larger numbers, none for whole ones.

    Examples
    --------
    >>> format_number(0.70249), format_number(7.44), format_number(50000.0), format_number(None)
    ('0.702', '7.4', '50,000', '–')
    """
    if value is None or isnan(value):
        return _UNDEFINED
    digits = 0 if abs(value) >= 1000 or value == round(value) else 1 if abs(value) >= 2 else 3
    return f"{value:,.{digits}f}".replace("-", _MINUS)


def format_signed(value: float | None, digits: int = 3) -> str:
    """A difference, always with its sign.

    Examples
    --------
    >>> format_signed(0.0123), format_signed(-0.5), format_signed(None)
    ('+0.012', '−0.500', '–')
    """
    return _UNDEFINED if value is None or isnan(value) else f"{value:+.{digits}f}".replace("-", _MINUS)


def format_count(value: int | None) -> str:
    """A whole number with thousands apart."""
    return _UNDEFINED if value is None else f"{value:,.0f}"


def format_ratio(value: float | None) -> str:
    """A share as per cent.

    Examples
    --------
    >>> format_ratio(0.2349)
    '23.5 %'
    """
    return _UNDEFINED if value is None or isnan(value) else f"{100 * value:.1f} %"


def format_instant(value: datetime) -> str:
    """An instant in UTC; midnights as a date.

    Examples
    --------
    >>> from datetime import UTC
    >>> format_instant(datetime(2013, 4, 1, tzinfo=UTC)), format_instant(datetime(2013, 4, 1, 6, 5, tzinfo=UTC))
    ('2013-04-01', '2013-04-01 06:05 UTC')
    """
    return value.strftime("%Y-%m-%d" if (value.hour, value.minute, value.second) == (0, 0, 0) else "%Y-%m-%d %H:%M UTC")


def format_duration(value: timedelta) -> str:
    """In the largest of days, hours and minutes that it is a whole number of; hours up to two days.

    Examples
    --------
    >>> format_duration(timedelta(days=1)), format_duration(timedelta(days=90)), format_duration(timedelta(minutes=30))
    ('24 hours', '90 days', '30 minutes')
    """
    seconds = int(value.total_seconds())
    n, unit = next(
        (seconds // size, unit) for size, unit in _UNITS if seconds % size == 0 and (size < 86400 or seconds > 172_800)
    )
    return f"{n:,} {unit}{'' if n == 1 else 's'}"


def escape_cell(value: object) -> str:
    """Text for one cell of a Markdown table."""
    return " ".join(str(value).replace("|", "\\|").replace("<", "&lt;").split())

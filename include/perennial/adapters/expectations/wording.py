"""What Great Expectations found, in words for logs and mails."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from string import Template
from typing import TYPE_CHECKING, cast

from perennial.config.suite_file import Expectation
from perennial.contracts import FailedExpectation

if TYPE_CHECKING:
    from great_expectations.core.expectation_validation_result import ExpectationValidationResult as Outcome

OWN_SQL = "unexpected_rows_expectation"
N_SAMPLES = 5
_MISSING = ("None", "nan", "NaT", "<NA>")


def describe(expectation: Expectation, outcome: "Outcome", *, key: Sequence[str]) -> FailedExpectation:
    about = expectation.columns or tuple(str(name) for name in [expectation.meta.get("column")] if name)
    return FailedExpectation(
        expectation=expectation.type,
        column=", ".join(about),
        expected=expectation.description or _expected(outcome),
        observed=_observed(outcome),
        sample_keys=_sample_keys(outcome, key),
    )


def _expected(outcome: "Outcome") -> str:
    """Great Expectations' own sentence for an expectation."""
    from great_expectations.render.renderer.inline_renderer import InlineRenderer

    value = InlineRenderer(render_object=outcome.expectation_config).get_rendered_content()[0].value
    params = {name: _text(each["value"]) for name, each in (value.params or {}).items()}
    return Template(value.template or outcome.expectation_config.type).safe_substitute(params).rstrip(".")


def _observed(outcome: "Outcome") -> str:
    result = outcome.result
    if mismatched := (result.get("details") or {}).get("mismatched"):
        return _mismatch(mismatched)
    if "unexpected_count" not in result:
        return _text(result.get("observed_value")) + (" rows" if outcome.expectation_config.type == OWN_SQL else "")
    n_present = result["element_count"] - result.get("missing_count", 0)
    ratio = f"{result['unexpected_count']:,} of {n_present:,} values ({result['unexpected_percent']:.2f} %)"
    values = dict.fromkeys(_text(each) for each in result.get("partial_unexpected_list", ()))
    given = [each for each in values if each not in _MISSING]
    return f"{ratio}: {', '.join(given)}" if given else ratio


def _mismatch(mismatched: "Mapping[str, Sequence[str]] | Sequence[Mapping[str, object]]") -> str:
    """Columns that are amiss: by kind where a set was expected, by place where an order was."""
    if isinstance(mismatched, Mapping):
        return "; ".join(f"{kind} {', '.join(names)}" for kind, names in mismatched.items())
    return "; ".join(f"{each['Found']} in place of {each['Expected']}" for each in mismatched[:N_SAMPLES])


def _sample_keys(outcome: "Outcome", key: Sequence[str]) -> tuple[str, ...]:
    result = outcome.result
    rows = result.get("partial_unexpected_index_list") or (result.get("details") or {}).get("unexpected_rows")
    rows = rows or result.get("partial_unexpected_list") or []
    keyed = [cast("Mapping[str, object]", row) for row in rows if isinstance(row, Mapping) and set(key) <= set(row)]
    return tuple(dict.fromkeys(", ".join(_key_text(row[name]) for name in key) for row in keyed))[:N_SAMPLES]


def _key_text(value: object) -> str:
    """As the key would be looked for."""
    return _text(value) if isinstance(value, datetime) else str(value)


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    if isinstance(value, Mapping | tuple):
        return f"({', '.join(_text(each) for each in (value.values() if isinstance(value, Mapping) else value))})"
    if isinstance(value, float):
        return f"{value:,.6g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def messages(outcome: "Outcome") -> list[str]:
    """What was raised instead of a result, if anything."""
    info = outcome.exception_info or {}
    several = [info] if "raised_exception" in info else list(info.values())
    return [str(each["exception_message"]) for each in several if each["raised_exception"]]


def short(message: str) -> str:
    """The first line that says something, without a stack of exception classes before it."""
    return message.partition("\n")[0].removeprefix("Error: ").rpartition(") ")[2].strip()

"""Great Expectations."""

from perennial.adapters.expectations.validation import Parameters, SuiteResult, check_suite, validate_frame, validate_query

__all__ = ["Parameters", "SuiteResult", "check_suite", "validate_frame", "validate_query"]

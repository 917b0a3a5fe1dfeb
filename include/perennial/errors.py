"""The errors of Perennial: each names what was wrong and the next step.

A caller needs to know one thing about an error besides its text: can trying again help? `PermanentError` says no,
`RetryableError` says yes. Airflow's view of the two is in `perennial_airflow.errors`.
"""


class PerennialError(Exception):
    """Base of every error that Perennial raises on purpose.

    Parameters
    ----------
    what
        What was wrong, naming the offending value and, where there are few, the alternatives.
    next_step
        What the reader can do about it, as a sentence; empty when `what` already says it.
    """

    def __init__(self, what: str, next_step: str = "") -> None:
        super().__init__(what, next_step)
        self.what = what
        self.next_step = next_step

    def __str__(self) -> str:
        return f"{self.what}\n  → {self.next_step}" if self.next_step else self.what


class PermanentError(PerennialError):
    """Trying again cannot help: somebody has to change something first."""


class RetryableError(PerennialError):
    """Trying again may help: something was away or busy."""


class ConfigurationError(PermanentError):
    """A setting, a model spec, a suite or a SQL file is wrong."""


class InputError(ConfigurationError):
    """What was asked of one run cannot be: a param is wrong. Who asked is told; spec and data may be right."""


class StackError(PermanentError):
    """A service of the embedded stack cannot start or is in the way: a busy port, a full disk, a stale file."""


class QueryError(PermanentError):
    """The warehouse refused a query: a missing table or column, a wrong type, a missing right."""


class DataFault(PermanentError):
    """The data is broken: an expectation failed or the window is empty. Retraining on it would be worse than none.

    Parameters
    ----------
    validation
        The `perennial.contracts.Validation` that found it, where one did.
    """

    def __init__(self, what: str, next_step: str = "", *, validation: object = None) -> None:
        super().__init__(what, next_step)
        self.validation = validation


class EmptyWindow(DataFault):
    """The source has no rows in the run's window: nothing to learn from, and mostly no fault of the data."""


class ImmatureLabels(PermanentError):
    """The data is sound, but too few of its labels are old enough to count."""


class TrainingError(PermanentError):
    """No candidate could be trained, or a trained one cannot be evaluated."""


class PackagingError(PermanentError):
    """A bento could not be built from a model version."""


class ReleaseError(PermanentError):
    """A release was stopped: the challenger did not get ready, or its answers differ from the offline predictions."""


class UnknownVersion(ReleaseError, InputError):
    """A version was named that was never registered, or never served and is to come back."""


class Breach(ReleaseError):
    """A challenger went over a limit while it was watched beside the champion, and was stopped.

    Parameters
    ----------
    stage
        The `perennial.contracts.Stage` with every measure and threshold.
    """

    def __init__(self, what: str, next_step: str = "", *, stage: object) -> None:
        super().__init__(what, next_step)
        self.stage = stage


class PredictionRefused(PermanentError):
    """The database refuses predictions for what they hold, so that trying again cannot help."""


class ReportError(PermanentError):
    """A full report could not be drawn. What it would have shown is known without it."""


class UnavailableError(RetryableError):
    """A service that is needed does not answer: Postgres, MLflow, the gateway, the supervisor or the mail server."""

"""Mails that a task sends on its way: worth a retry, never worth a failure."""

import logging
from collections.abc import Callable
from typing import ParamSpec

from airflow.sdk import get_current_context

from perennial.errors import PerennialError, RetryableError

P = ParamSpec("P")

log = logging.getLogger(__name__)


def mail_patiently(send: Callable[P, None], *args: P.args, **options: P.kwargs) -> None:
    """Send a mail; where the mail server is away the task is tried again, and its last try goes on without.

    What the task did before has to be idempotent.
    """
    try:
        send(*args, **options)
    except PerennialError as error:
        task_instance = get_current_context()["ti"]
        if isinstance(error, RetryableError) and task_instance.try_number <= task_instance.max_tries:
            raise
        log.warning("nobody was told by mail, and the task goes on: %s", error)

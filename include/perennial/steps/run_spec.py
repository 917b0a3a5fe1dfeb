"""The spec of a run: fixed when its first task begins, read by all later ones, whatever becomes of the file meanwhile.

A person who edits a spec while a run trains, waits for approval or watches a canary changes the next run, not that one.
"""

import logging

from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.config.spec_file import load_spec, parse_spec, read_spec, spec_path
from perennial.errors import ConfigurationError

_logger = logging.getLogger(__name__)


def fix_run_spec(model: str, *, dag_id: str, dag_run_id: str, settings: Settings) -> ModelSpec:
    """Record the model's spec, as its file is now, as that of a run that begins.

    Raises
    ------
    ConfigurationError
        When the spec is broken or gone.
    UnavailableError
        When the state database does not answer; trying again may help.

    Notes
    -----
    A run that begins again, since a person cleared its first task, takes the spec of then.
    """
    path = spec_path(settings, model)
    text = read_spec(path)
    spec = parse_spec(text, path)
    with StateStore(settings.state_url) as state:
        state.write_run_spec(model, text, dag_id=dag_id, dag_run_id=dag_run_id)
    return spec


def load_run_spec(model: str, *, dag_id: str, dag_run_id: str, settings: Settings) -> ModelSpec:
    """The spec that a run began under; the file's where none is recorded: its first task failed, or an earlier release ran it.

    Raises
    ------
    ConfigurationError
        When the spec is broken or gone.
    UnavailableError
        When the state database does not answer; trying again may help.
    """
    path = spec_path(settings, model)
    with StateStore(settings.state_url) as state:
        text = state.read_run_spec(dag_id=dag_id, dag_run_id=dag_run_id)
    if text is None:
        return load_spec(path)
    if not path.exists() or text != read_spec(path):
        _logger.info("the spec of %s was changed since this run began: the run goes on under the earlier one", model)
    try:
        return parse_spec(text, path)
    except ConfigurationError as error:
        raise ConfigurationError(
            f"the spec that this run began under cannot be read any more: {error.what}", "clear the run from its first task on"
        ) from error


def load_graph_spec(model: str, *, dag_id: str, settings: Settings) -> ModelSpec:
    """The spec whose graph a task that is about to run is part of: the file's.

    Where that cannot be read, it is the one that the Dag's latest run began under: Airflow parses the file for each task, and
    what runs goes on.

    Raises
    ------
    ConfigurationError
        When the spec is broken or gone, and no run recorded one.
    UnavailableError
        When the state database does not answer; trying again may help.
    """
    path = spec_path(settings, model)
    try:
        return load_spec(path)
    except ConfigurationError as error:
        with StateStore(settings.state_url) as state:
            text = state.read_last_spec(dag_id)
        if text is None:
            raise
        _logger.warning("%s; the graph is that of the latest run of %s", error.what, dag_id)
        return parse_spec(text, path)

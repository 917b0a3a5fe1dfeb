"""Keep MLflow's alias `champion` the projection of the table `champion` that it is."""

import logging

from perennial.adapters.registry import Registry
from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.errors import UnavailableError

_logger = logging.getLogger(__name__)


def reconcile_champion_alias(model: str, *, settings: Settings) -> int | None:
    """Point the alias at the champion of the table, or remove it where there is none; the table wins.

    Returns
    -------
    The champion's version; None where there is none.

    Raises
    ------
    UnavailableError
        When the registry or the state database does not answer.
    """
    with StateStore(settings.state_url) as state:
        champion = state.read_champion(model)
    wanted = champion.model_version if champion else None
    registry = Registry(settings.mlflow_tracking_url)
    found = registry.read_alias(model, "champion")
    if found == wanted:
        _logger.info("alias champion of %s agrees with the table: %s", model, wanted or "none")
    else:
        registry.set_alias(model, "champion", wanted)
        _logger.warning(
            "alias champion of %s pointed at %s, now at %s, as the table says", model, found or "none", wanted or "none"
        )
    return wanted


def move_champion_alias(model: str, *, settings: Settings) -> None:
    """Point the alias at the champion after a switch. Callers are served by the table: a registry that is away undoes nothing."""
    try:
        reconcile_champion_alias(model, settings=settings)
    except UnavailableError as error:
        _logger.warning("the alias champion follows with the next release or retraining: %s", error.what)

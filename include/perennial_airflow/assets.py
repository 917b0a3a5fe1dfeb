"""Assets that tie the Dags of one model together."""

from airflow.sdk import Asset


def challenger_asset(model: str) -> Asset:
    """A registered challenger of a model; each event's `extra` carries the registered version."""
    return Asset(name=f"challenger__{model}", uri=f"perennial://challenger/{model}", group="perennial")

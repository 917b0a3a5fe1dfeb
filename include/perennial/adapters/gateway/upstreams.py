"""What the gateway leads to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """One running version of a model. With neither weight nor mirror it answers only on its own path, `versions/<version>`.

    Parameters
    ----------
    weight
        Per cent of the live traffic that it answers.
    mirror_percent
        Per cent of the live predictions that it gets a copy of; nobody waits for its answers.
    is_canary
        Its share of the traffic goes to the version that is no canary as soon as it fails.
    """

    model_version: int
    host: str
    port: int
    weight: int = 100
    mirror_percent: int = 0
    is_canary: bool = False


# Every model there is; one without an upstream of any weight is answered with 503.
Models = Mapping[str, Sequence[Upstream]]


def cluster_name(model: str, model_version: int) -> str:
    return f"{model}__v{model_version}"


def canary_cluster_name(model: str, canary: Upstream, *, champion: Upstream) -> str:
    """Name of the cluster of a canary's share, which the champion stands in for."""
    return f"{cluster_name(model, canary.model_version)}__or__v{champion.model_version}"


def serving(upstreams: Sequence[Upstream]) -> Sequence[Upstream]:
    return [each for each in upstreams if each.weight > 0]


def champion_of(upstreams: Sequence[Upstream]) -> Upstream | None:
    """The version that stands in for canaries."""
    return next((each for each in serving(upstreams) if not each.is_canary), None)

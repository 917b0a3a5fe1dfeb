"""The tasks of `release__<model>`. Each calls one step of the library, imported where it runs."""

from typing import Any

from airflow.sdk import get_current_context, task

from perennial.contracts import Bento, RegisteredVersion, ServingCheck
from perennial.errors import ConfigurationError
from perennial_airflow.assets import challenger_asset
from perennial_airflow.factory import load_model
from perennial_airflow.xcom import pack, pull, pull_optional

Packed = dict[str, Any]


@task
def choose_version(model: str) -> Packed:
    """Take the version from the challenger's event, or from the `version` param of a run started by hand."""
    from perennial.steps.register import read_registered

    context = get_current_context()
    if number := context["params"].get("version"):
        return pack(read_registered(model, number, settings=load_model(model)[1]))
    events = context["triggering_asset_events"].get(challenger_asset(model)) or []
    if not events:
        raise ConfigurationError("this run was started by hand without a version", "trigger it again with the param `version`")
    # Several challengers may have come while a release was running: the last one is the one to release.
    version: Packed = events[-1].extra["version"]
    return version


@task
def build_bento() -> Packed:
    """Package the model version as a bento."""
    from perennial.steps.package import build_bento as step

    version = pull(RegisteredVersion, "choose_version")
    spec, settings = load_model(version.model)
    return pack(step(spec, version, settings=settings))


@task
def check_serving() -> Packed:
    """Start the bento on a port of its own and require golden rows to get the offline predictions."""
    from perennial.steps.release import start_and_check

    bento = pull(Bento, "build_bento")
    spec, settings = load_model(bento.model)
    return pack(start_and_check(spec, bento, settings=settings))


@task
def promote() -> Packed:
    """Switch the gateway to the new bento and make its version the champion."""
    from perennial.steps.release import promote as step

    version, check = pull(RegisteredVersion, "choose_version"), pull(ServingCheck, "check_serving")
    spec, settings = load_model(version.model)
    return pack(step(spec, version, check, dag_run_id=get_current_context()["dag_run"].run_id, settings=settings))


@task
def drain(model: str) -> None:
    """Stop the bentos that no longer serve, once their last requests are answered."""
    from perennial.steps.release import drain as step

    spec, settings = load_model(model)
    step(spec, settings=settings)


@task(trigger_rule="one_failed")
def withdraw(model: str) -> None:
    """A step failed: stop the challenger's bento and record the rejection; the champion keeps serving."""
    from perennial.steps.release import withdraw as step

    version = pull_optional(RegisteredVersion, "choose_version")
    spec, settings = load_model(model)
    step(spec, version.model_version if version else None, settings=settings)

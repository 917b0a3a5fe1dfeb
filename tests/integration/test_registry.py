"""The MLflow adapter against a real server."""

import socket
import time

import numpy as np
import pytest
from mlflow import MlflowClient

from perennial.adapters.registry import Registry
from perennial.core.candidates import build_pipeline, fit, predict
from perennial.core.frames import features_frame
from perennial.errors import PermanentError, UnavailableError
from support.stacks.stack import Stack

pytestmark = [
    pytest.mark.integration,
    # MLflow warns of its own type hints while it is imported.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]

FEATURES = {"carrier": ("category", True), "hour": ("integer", False), "seats": ("integer", True)}
ROWS = [{"carrier": "UA" if n % 3 else None, "hour": n % 24, "seats": n % 7 or None} for n in range(200)]
LABELS = np.array([n % 3 == 0 or n % 24 > 12 for n in range(200)], dtype=np.int8)


@pytest.fixture
def url(stack: Stack) -> str:
    return stack.up("mlflow").mlflow_tracking_url


@pytest.fixture
def registry(url: str) -> Registry:
    return Registry(url)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A model of the test's own, as the stack is shared."""
    return f"registry_{request.node.name}"


def test_runs_are_found_by_all_of_their_tags_newest_first(registry: Registry, name: str) -> None:
    odd = "it's manual__2013-04-01T00:00:00+00:00"
    assert registry.find_runs(name, {"dag_run_id": odd}) == []
    first = registry.start_run(name, "first", tags={"dag_run_id": odd, "candidate": "a"})
    second = registry.start_run(name, "second", tags={"dag_run_id": odd, "candidate": "b"}, parent_run_id=first)
    assert [run.mlflow_run_id for run in registry.find_runs(name, {"dag_run_id": odd})] == [second, first]
    (found,) = registry.find_runs(name, {"dag_run_id": odd, "candidate": "b"})
    assert (found.mlflow_run_id, found.status) == (second, "RUNNING")
    assert found.tags == {"dag_run_id": odd, "candidate": "b"}


def test_a_run_holds_what_was_logged(registry: Registry, url: str, name: str) -> None:
    run_id = registry.start_run(name, "run", tags={})
    registry.log(run_id, params={"C": 0.1}, metrics={"fold_score": 0.7}, series={"fold_roc_auc": [0.6, 0.8]}, tags={"a": "b"})
    registry.log_text(run_id, '{"roc": []}', "curves.json")
    registry.finish_run(run_id, status="FAILED", tags={"error": "no rows"})
    client = MlflowClient(url)
    run = client.get_run(run_id)
    assert run.data.params == {"C": "0.1"}
    assert run.data.metrics == {"fold_score": 0.7, "fold_roc_auc": 0.8}
    assert [point.value for point in client.get_metric_history(run_id, "fold_roc_auc")] == [0.6, 0.8]
    assert (run.data.tags["perennial.a"], run.data.tags["perennial.error"]) == ("b", "no rows")
    assert run.info.status == "FAILED"
    assert [file.path for file in client.list_artifacts(run_id)] == ["curves.json"]


@pytest.mark.parametrize(
    "algorithm", ["prior", "logistic_regression", "extra_trees", "random_forest", "hist_gradient_boosting", "lightgbm"]
)
def test_every_kind_of_model_comes_back_the_same_and_safely(registry: Registry, url: str, name: str, algorithm: str) -> None:
    frame = features_frame(ROWS, FEATURES)
    pipeline = fit(build_pipeline(algorithm, features=FEATURES, params={}, seed=1), frame, LABELS)
    run_id = registry.start_run(name, algorithm, tags={})
    logged = registry.log_model(run_id, pipeline, features=FEATURES, example=frame.head(2), packages=["scikit-learn"])
    version = registry.create_version(name, logged, run_id=run_id, tags={"dag_run_id": "r1"})
    assert version.tags == {"dag_run_id": "r1", "serialization": "skops"}
    loaded = registry.load_model(name, version.model_version)
    assert (predict(loaded, frame) == predict(pipeline, frame)).all()


def test_the_signature_says_what_may_be_missing(registry: Registry, name: str) -> None:
    from mlflow.models import get_model_info

    frame = features_frame(ROWS[:50], FEATURES)
    pipeline = fit(build_pipeline("prior", features=FEATURES, params={}, seed=1), frame, LABELS[:50])
    run_id = registry.start_run(name, "prior", tags={})
    logged = registry.log_model(run_id, pipeline, features=FEATURES, example=frame.head(2), packages=["scikit-learn", "pandas"])
    info = get_model_info(f"models:/{logged.model_id}")
    columns = [(column["name"], column["type"], column["required"]) for column in info.signature.inputs.to_dict()]
    assert columns == [("carrier", "string", False), ("hour", "long", True), ("seats", "double", False)]
    assert info.saved_input_example_info is not None


def test_what_skops_does_not_know_is_saved_with_cloudpickle_and_says_so(registry: Registry, name: str) -> None:
    from sklearn.dummy import DummyClassifier
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import FunctionTransformer

    frame = features_frame(ROWS[:10], {"hour": FEATURES["hour"]})
    steps = [("prepare", FunctionTransformer(lambda given: given)), ("model", DummyClassifier())]
    pipeline = Pipeline(steps).fit(frame, LABELS[:10])
    run_id = registry.start_run(name, "custom", tags={})
    logged = registry.log_model(run_id, pipeline, features={"hour": FEATURES["hour"]}, example=frame, packages=["scikit-learn"])
    assert logged.serialization == "cloudpickle"


def test_versions_and_aliases(registry: Registry, name: str) -> None:
    assert registry.find_version(name, {"dag_run_id": "r1"}) is None
    assert registry.read_version(name, 1) is None
    assert registry.read_alias(name, "champion") is None
    registry.set_alias(name, "champion", None)
    frame = features_frame(ROWS[:50], FEATURES)
    pipeline = fit(build_pipeline("prior", features=FEATURES, params={}, seed=1), frame, LABELS[:50])
    run_id = registry.start_run(name, "prior", tags={})
    logged = registry.log_model(run_id, pipeline, features=FEATURES, example=frame.head(2), packages=["scikit-learn"])
    versions = [registry.create_version(name, logged, run_id=run_id, tags={"dag_run_id": each}) for each in ("r1", "r2", "r1")]
    assert [version.model_version for version in versions] == [1, 2, 3]
    assert versions[0].model_uri == f"models:/{name}/1"
    assert registry.find_version(name, {"dag_run_id": "r1"}) == versions[2]
    assert registry.read_version(name, 2) == versions[1]
    assert registry.read_version(name, 4) is None
    for wanted in (2, 2, 3, None, None):
        registry.set_alias(name, "champion", wanted)
        assert registry.read_alias(name, "champion") == wanted


def test_runs_that_register_a_first_version_at_once_all_do(
    registry: Registry, url: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Client(MlflowClient):
        """Another run makes the model between the look and the making."""

        def create_registered_model(self, name: str, *args: object, **options: object) -> object:
            super().create_registered_model(name, *args, **options)
            return super().create_registered_model(name, *args, **options)

    frame = features_frame(ROWS[:50], FEATURES)
    pipeline = fit(build_pipeline("prior", features=FEATURES, params={}, seed=1), frame, LABELS[:50])
    run_id = registry.start_run(name, "prior", tags={})
    logged = registry.log_model(run_id, pipeline, features=FEATURES, example=frame.head(2), packages=["scikit-learn"])
    monkeypatch.setattr("mlflow.MlflowClient", Client)
    late = Registry(url)
    assert late.create_version(name, logged, run_id=run_id, tags={}).model_version == 1


def test_what_mlflow_refuses_is_permanent(registry: Registry, name: str) -> None:
    with pytest.raises(PermanentError, match="MLflow refused"):
        registry.log_text("0" * 32, "text", "file.txt")


def test_a_server_that_is_away_is_unavailable_and_not_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    with socket.socket() as taken:  # bound and not listening: nobody else can get the port, and nobody answers
        taken.bind(("127.0.0.1", 0))
        registry = Registry(f"http://127.0.0.1:{taken.getsockname()[1]}")
        started = time.monotonic()
        for ask in (lambda: registry.read_alias("m", "champion"), lambda: registry.find_runs("m", {"a": "b"})):
            with pytest.raises(UnavailableError, match="does not answer"):
                ask()
    assert time.monotonic() - started < 30

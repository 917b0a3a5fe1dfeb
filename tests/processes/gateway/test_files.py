"""What is in the two files that Envoy watches, and in which order they change."""

import json
import os
from pathlib import Path

import pytest

from perennial.adapters.gateway import Upstream, write_config
from support.serving.gateway_calls import HOST


def version(number: int, *, port: int = 9, weight: int = 100, is_canary: bool = False) -> Upstream:
    return Upstream(model_version=number, host=HOST, port=port, weight=weight, is_canary=is_canary)


def names(path: Path) -> list[str]:
    return [each["name"] for each in json.loads(path.read_text())["resources"]]


def test_writing_the_same_again_touches_no_file(unused):
    models = {"late": [version(1)]}
    first = write_config(unused, models)
    files = sorted(unused.paths.gateway.iterdir())
    os.utime(files[0], ns=(1, 1))
    os.utime(files[1], ns=(1, 1))
    assert write_config(unused, models) == first
    assert [file.name for file in files] == ["clusters.yaml", "routes.yaml"]
    assert [file.stat().st_mtime_ns for file in files] == [1, 1]


def test_a_moved_port_is_a_change_though_the_routes_stay(unused):
    assert len({write_config(unused, {"m": [version(1, port=port)]}) for port in (1, 2, 1)}) == 2


def test_a_callers_key_is_a_change_though_the_models_stay(unused):
    assert len({write_config(unused, {}, callers=callers) for callers in (None, {}, {"a": "x"}, {"a": "y"}, None)}) == 4


def test_a_cluster_stays_until_no_worker_can_have_a_route_to_it(unused):
    kept = []
    for versions in ([1], [2], [2, 3], [2, 3]):
        write_config(unused, {"m": [version(number) for number in versions]})
        kept.append(names(unused.paths.gateway / "clusters.yaml"))
    both = ["m__v2", "m__v3", "m__v3__or__v2"]
    assert kept == [["m__v1"], ["m__v1", "m__v2"], both, both]


def test_a_canary_changes_the_routes_only(unused):
    """Envoy may take new routes before the new clusters that they lead to, which costs a request now and then."""
    clusters = unused.paths.gateway / "clusters.yaml"
    write_config(unused, {"m": [version(1), version(2, weight=0)]})
    before = clusters.read_text()
    for percent in (5, 50):
        write_config(unused, {"m": [version(1, weight=100 - percent), version(2, weight=percent, is_canary=True)]})
        assert clusters.read_text() == before


def test_what_a_canary_is_made_of_stays_as_long_as_itself(unused):
    kept = []
    for versions in ([version(1, weight=90), version(2, weight=10, is_canary=True)], [version(1)], [version(1)]):
        write_config(unused, {"m": versions})
        kept.append(names(unused.paths.gateway / "clusters.yaml"))
    assert kept == [["m__v1", "m__v2", "m__v2__or__v1"], ["m__v1", "m__v2", "m__v2__or__v1"], ["m__v1"]]


@pytest.mark.parametrize("left", ["", '{"version_info": "', "[]"])
def test_a_file_that_was_cut_short_is_written_anew(unused, left):
    write_config(unused, {"m": [version(1)]})
    path = unused.paths.gateway / "clusters.yaml"
    whole = path.read_text()
    path.write_text(left)
    write_config(unused, {"m": [version(1)]})
    assert path.read_text() == whole


def test_routes_never_point_at_a_cluster_that_is_not_there(unused, monkeypatch):
    seen = []
    replace = Path.replace

    def watched(self: Path, target: Path) -> Path:
        result = replace(self, target)
        seen.append(_dangling(unused.paths.gateway))
        return result

    monkeypatch.setattr(Path, "replace", watched)
    one, two, canary = version(1), version(2), version(2, weight=5, is_canary=True)
    for models in ({"a": [one]}, {"a": [two]}, {"a": [one, canary]}, {"a": [one]}, {"a": [], "b": [one, two]}, {}):
        write_config(unused, models)
    assert len(seen) > 9
    assert set().union(*seen) == set()


def _dangling(folder: Path) -> set[str]:
    def mentioned(file: str) -> set[str]:
        text = (folder / file).read_text() if (folder / file).exists() else "{}"
        found: set[str] = set()

        def collect(value: object) -> None:
            if isinstance(value, dict):
                list(map(collect, value.values()))
            elif isinstance(value, list):
                list(map(collect, value))
            elif isinstance(value, str) and "__v" in value:
                found.add(value)

        collect(json.loads(text))
        return found

    there = folder / "clusters.yaml"
    return (mentioned("routes.yaml") | mentioned("clusters.yaml")) - set(names(there) if there.exists() else ())

"""Envoy's routes and clusters: which versions of which models callers reach, and with what share of the traffic."""

from perennial.adapters.gateway.callers import NOBODY, hash_key
from perennial.adapters.gateway.envoy import TYPES, Json, header, write_file
from perennial.adapters.gateway.files import asks_for_keys, may_stay, write_config
from perennial.adapters.gateway.probing import wait_until_reachable, wait_until_taken
from perennial.adapters.gateway.upstreams import Models, Upstream, cluster_name

__all__ = [
    "NOBODY",
    "TYPES",
    "Json",
    "Models",
    "Upstream",
    "asks_for_keys",
    "cluster_name",
    "hash_key",
    "header",
    "may_stay",
    "wait_until_reachable",
    "wait_until_taken",
    "write_config",
    "write_file",
]

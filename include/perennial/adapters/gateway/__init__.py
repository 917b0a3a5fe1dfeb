"""Envoy's routes and clusters: which versions of which models callers reach, and with what share of the traffic."""

from perennial.adapters.gateway.callers import NOBODY, hash_key
from perennial.adapters.gateway.files import write_config
from perennial.adapters.gateway.probing import wait_until_reachable, wait_until_taken
from perennial.adapters.gateway.upstreams import Models, Upstream, cluster_name

__all__ = ["NOBODY", "Models", "Upstream", "cluster_name", "hash_key", "wait_until_reachable", "wait_until_taken", "write_config"]

"""Ports for what tests start: below those that the kernel gives to outgoing connections, and of each worker its own."""

import os
import random

from perennial.adapters.ports import is_free

_HOST = "127.0.0.1"
_N_PER_WORKER = 3_000
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
# From 20,000 up to 32,000: four workers have their own, more of them share.
_FIRST = 20_000 + _N_PER_WORKER * (_WORKER % 4)
_PORTS = range(_FIRST, _FIRST + _N_PER_WORKER)


def find_free_port() -> int:
    return find_free_ports(1)[0]


def find_free_ports(count: int) -> list[int]:
    free = (port for port in random.sample(_PORTS, len(_PORTS)) if is_free(_HOST, port))
    return [next(free) for _ in range(count)]


def find_free_block(count: int) -> range:
    """Ports that follow each other."""
    while True:
        first = random.randrange(_PORTS.start, _PORTS.stop - count)
        block = range(first, first + count)
        if all(is_free(_HOST, port) for port in block):
            return block

"""Run this bento as one process on a listening socket that its parent opened: `python -m perennial_bento.server`.

`bentoml serve` puts a supervisor of its own between; killed with -9 it leaves workers behind that hold the port. Here the
keeper of processes holds the socket, so connections wait in its queue while a killed bento comes back. And the model's
own paths do not pass through BentoML's middleware.
"""

import argparse
import gc
import socket
import sys
from pathlib import Path
from typing import Any

import bentoml
import uvicorn
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.context import server_context
from bentoml._internal.server.metrics.prometheus import PrometheusClient

from perennial_bento.app import Front
from perennial_bento.logs import configure_logging

# Longer than the gateway keeps an idle connection, so that it is never us who closes one it is about to use.
_KEEP_ALIVE_SECONDS = 75
_DRAIN_SECONDS = 10
# How long a thread that computes may keep the interpreter from the event loop. Python's default of 5 ms is a request's time.
_SWITCH_SECONDS = 0.0005


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--fd", type=int, default=0, help="file descriptor of the listening socket")
    listening = socket.socket(fileno=arguments.parse_args().fd)
    configure_logging()
    sys.setswitchinterval(_SWITCH_SECONDS)
    uvicorn.Server(_build_config()).run(sockets=[listening])


def _build_config() -> uvicorn.Config:
    # One process counts in memory; files shared between processes would mix the bentos of one machine.
    BentoMLContainer.metrics_client.set(PrometheusClient(multiproc=False))
    service: Any = bentoml.load(str(Path(__file__).resolve().parents[2]))
    server_context.service_type, server_context.service_name = "entry_service", service.name
    server_context.bento_name, server_context.bento_version = service.bento.tag.name, service.bento.tag.version
    from perennial_bento.service import SERVED

    app: Any = Front(service.to_asgi(), served=SERVED)
    gc.collect()
    gc.freeze()
    return uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
    )


if __name__ == "__main__":
    main()

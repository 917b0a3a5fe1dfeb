"""A process that releases a version again and again, each time in a child that may be killed.

python -m support.serving.release_process MODEL VERSION

For each line on its standard input it says the child's process id, then how it ended.
"""

import os
import sys

from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.steps import release
from perennial.steps.admission import read_release, to_version
from support.serving.served_models import release_version, short_canary, short_shadow, small_spec


def main(model: str, model_version: int) -> None:
    settings = Settings.load()
    stages = {"shadow": short_shadow(1, requests=10), "canary": short_canary(1, steps=[20, 50], requests=10), "quiet": "pass"}
    spec = small_spec(settings, model, **stages)
    with StateStore(settings.state_url) as state:
        version = to_version(read_release(state, model, model_version))
    for _ in sys.stdin:
        child = os.fork()
        if not child:
            release_version(settings, spec, version)
            release.drain(spec, settings=settings)
            os._exit(0)
        _say(child)
        _say(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def _say(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))

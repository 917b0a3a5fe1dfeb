"""`python -m perennial.stack.launch NAME`: become a service, or do a step, as the settings say.

supervisord and the containers both start everything this way, so a service has one command line and one environment,
and secrets go from their files into the environment of the process that needs them, never into another file. What supervisord
starts was prepared by `up`: a process that starts again finds the files as they are by now, and settings as they were.
"""

import os
import sys

from perennial.config.settings import Settings
from perennial.errors import PerennialError
from perennial.stack.environment import SERVICE_MARK, STACK_MARK, base_environment
from perennial.stack.processes import end_leftovers
from perennial.stack.services import SERVICES, STEPS, Service
from perennial.stack.supervision import exec_supervisor


def launch(settings: Settings, service: Service) -> None:
    """Replace this process by the service's."""
    end_leftovers(settings, service=service.name)
    command = service.command(settings)
    environment = {**base_environment(settings), **service.environment(settings), SERVICE_MARK: service.name}
    os.chdir(settings.project)
    os.execve(command[0], command, environment)


def main() -> int:
    name = sys.argv[1]
    try:
        settings = Settings.load()
        if name == "serving":
            exec_supervisor(settings)
        elif name in STEPS:
            STEPS[name].run(settings)
        else:
            if STACK_MARK not in os.environ:
                SERVICES[name].prepare(settings)
            launch(settings, SERVICES[name])
    except PerennialError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

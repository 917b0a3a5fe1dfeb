"""A stack as people see it: its services, and `perennial` against it."""

import subprocess

from perennial.config.settings import Settings
from perennial.stack.status import Status, read_status
from support import programs
from support.stacks.stack import Stack


def statuses(settings: Settings) -> dict[str, Status]:
    """Status by name of a service."""
    return {service.name: service for service in read_status(settings).services}


def pids(settings: Settings) -> dict[str, int]:
    """Process id by name of a service; 0 for one that does not run."""
    return {name: status.pid for name, status in statuses(settings).items()}


def perennial(stack: Stack, *arguments: str, seconds: float = 600) -> subprocess.CompletedProcess[str]:
    """Run the command line against a stack, and give what it said."""
    return programs.perennial(stack.environment, *arguments, seconds=seconds)

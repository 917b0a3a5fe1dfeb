"""docker-compose.yaml against the programs that the embedded stack runs."""

import subprocess

from perennial.config.settings import read_env_file
from perennial.stack import postgres
from support.stacks.compose_file import COMPOSE_FILE, read_compose_file


def test_the_image_is_of_the_postgres_that_is_embedded():
    said = subprocess.run([postgres.binary("postgres"), "--version"], capture_output=True, text=True, check=True).stdout
    compose = read_compose_file(read_env_file(COMPOSE_FILE.parent / ".env"))
    assert compose["services"]["postgres"]["image"] == f"postgres:{said.split()[-1]}"

"""Most tests begin with a copy of a stack that was made from nothing once: what it holds is the same."""

import json

import pytest

from perennial.stack.secrets import create_secrets
from support.stacks.contents import find_differences, read_contents
from support.stacks.prepared import FRESH

pytestmark = pytest.mark.integration


def test_a_copy_holds_what_the_fresh_stack_held_and_has_keys_of_its_own(make_stack):
    settings, other = make_stack().up("postgres"), make_stack().settings
    fresh = json.loads((settings.paths.var / FRESH).read_text())
    assert find_differences({kind: [tuple(row) for row in rows] for kind, rows in fresh.items()}, read_contents(settings)) == {}
    create_secrets(other)
    assert settings.secret("admin_password") != other.secret("admin_password")
    assert settings.secret("perennial_password") == other.secret("perennial_password")

import configparser
from importlib.util import find_spec
from pathlib import Path

import yaml

from support.stacks.projects import PROJECT


def test_airflow_knows_every_option_of_our_file():
    """A misspelt or retired option would be ignored in silence."""
    known = yaml.safe_load((Path(find_spec("airflow").origin).parent / "config_templates" / "config.yml").read_text())
    ours = configparser.ConfigParser()
    ours.read(PROJECT / "airflow.cfg")
    unknown = [(name, option) for name in ours.sections() for option in ours[name] if option not in known[name]["options"]]
    assert unknown == []

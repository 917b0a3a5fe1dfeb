"""How specs and suites are read: YAML's safe loader, with the scalars of YAML 1.2."""

import re

import yaml

_BOOL, _FLOAT, _TIMESTAMP = (f"tag:yaml.org,2002:{name}" for name in ("bool", "float", "timestamp"))


class Loader(yaml.CSafeLoader):
    """Takes 1e-6 for a number, and `on`, `off`, `yes` and `no` for what they are, words: a key of the spec is `on`.

    A date that does not exist stays a text, of which its key says what is wrong with it.
    """

    yaml_implicit_resolvers = {  # noqa: RUF012 – the library's own way
        first: [(tag, form) for tag, form in resolvers if tag != _BOOL]
        for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
    }


def _construct_timestamp(loader: Loader, node: yaml.ScalarNode) -> object:
    try:
        return loader.construct_yaml_timestamp(node)
    except ValueError:
        return node.value


Loader.add_implicit_resolver(_BOOL, re.compile(r"^(true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
Loader.add_implicit_resolver(_FLOAT, re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789"))
Loader.add_constructor(_TIMESTAMP, _construct_timestamp)

"""No library's error passes an adapter's edge as it is: every call of a vendor that can fail is inside a `try` or a translator.

The source is read, not run. From the public functions of a package one goes inwards along its own calls; a vendor's call that is
reached without a handler on the way is named. Constructors of plain values are no such calls.
"""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

LIBRARY = Path(__file__).parents[3] / "include" / "perennial"
VENDORS = {
    "adbc_driver_manager", "adbc_driver_postgresql", "dvc", "dvc_data", "evidently", "great_expectations", "httpx", "mlflow",
    "optuna", "psycopg2", "skops", "smtplib", "sqlalchemy", "xmlrpc",
}  # fmt: skip
# They make values, or set something, and ask nobody.
PLAIN = {
    "optuna", "psycopg2.sql", "psycopg2.extras", "psycopg2.extensions", "mlflow.entities", "mlflow.set_tracking_uri",
    "sqlalchemy.event", "xmlrpc.client.ServerProxy", "mlflow.types", "mlflow.models", "mlflow.MlflowClient", "httpx.Client",
    "great_expectations.ExpectationSuite",
}  # fmt: skip
# Context managers of the library that turn a vendor's errors into ours.
TRANSLATORS = {"translated", "connected", "connect"}
# Attributes that hold a vendor's object.
HELD = {"_client", "_connection"}
# Edges where it is so on purpose, and why.
KNOWN = {"adapters/pipeline_files:load_pipeline": "a bento carries it and ends with what it raises; steps.package translates it"}


@dataclass
class Function:
    """One function of a package: what it calls, each with whether a handler is around the call."""

    name: str
    is_translator: bool = False
    is_method: bool = False
    vendor_calls: list[tuple[str, bool]] = field(default_factory=list)
    own_calls: list[tuple[str, bool]] = field(default_factory=list)


def find_unwrapped(sources: Mapping[str, str]) -> list[str]:
    """Public functions of one package from which a vendor's call is reached without a handler, with that call."""
    trees = [ast.parse(source) for source in sources.values()]
    exported = _exported(sources["__init__.py"]) if "__init__.py" in sources else None
    translators = TRANSLATORS | {
        node.name for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and _translates(node)
    }
    functions = {each.name: each for tree in trees for each in _read_functions(tree, translators)}
    edge = [
        each.name for each in functions.values()
        if not each.name.startswith("_") and (each.is_method or exported is None or each.name in exported)
    ]  # fmt: skip
    return sorted({f"{name} → {call}" for name in edge for call in _reach(name, functions, set())})


def _exported(source: str) -> set[str]:
    """What a package shows: what it defines itself, and what it lists."""
    tree = ast.parse(source)
    own = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    listed = [node.value for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"]
    return own | {str(name) for value in listed for name in ast.literal_eval(value)}


def _reach(name: str, functions: Mapping[str, Function], seen: set[str]) -> Iterator[str]:
    if name in seen or functions[name].is_translator:
        return
    seen.add(name)
    yield from (call for call, is_wrapped in functions[name].vendor_calls if not is_wrapped)
    for called, is_wrapped in functions[name].own_calls:
        if not is_wrapped and called in functions:
            yield from _reach(called, functions, seen)


def _translates(node: ast.FunctionDef) -> bool:
    is_context = any("contextmanager" in ast.unparse(each) for each in node.decorator_list)
    handlers = [handler for each in ast.walk(node) if isinstance(each, ast.Try) for handler in each.handlers]
    return is_context and any(isinstance(each, ast.Raise) for handler in handlers for each in ast.walk(handler))


def _read_functions(tree: ast.Module, translators: set[str]) -> Iterator[Function]:
    module_names = _vendor_names(tree.body)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            is_method = bool(node.args.args) and node.args.args[0].arg == "self"
            function = Function(node.name, is_translator=node.name in translators, is_method=is_method)
            names = module_names | _vendor_names(list(ast.walk(node)))
            for each in node.body:
                _read(each, function, names, translators, is_wrapped=False)
            yield function


def _vendor_names(nodes: list[ast.stmt] | list[ast.AST]) -> dict[str, str]:
    """What is imported of vendors, by the name it has here."""
    found = {}
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {
                (each.asname or each.name.partition(".")[0]): (each.asname and each.name) or each.name.partition(".")[0]
                for each in node.names
            }
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {each.asname or each.name: f"{node.module}.{each.name}" for each in node.names}
    return {name: path for name, path in found.items() if path.partition(".")[0] in VENDORS}


def _read(node: ast.AST, function: Function, names: Mapping[str, str], translators: set[str], *, is_wrapped: bool) -> None:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return
    if isinstance(node, ast.Call):
        path = ast.unparse(node.func)
        root, _, rest = path.partition(".")
        called = ".".join(filter(None, (names.get(root, ""), rest))) if root in names else ""
        is_error = path.rpartition(".")[2].endswith(("Error", "Exception", "Pruned"))
        if root == "self" and rest.partition(".")[0] in HELD and rest.count(".") and not rest.endswith(".close"):
            function.vendor_calls.append((path, is_wrapped))
        elif called and not is_error and not any(called == plain or called.startswith(f"{plain}.") for plain in PLAIN):
            function.vendor_calls.append((called, is_wrapped))
        elif not called:
            function.own_calls.append((path.rpartition(".")[2], is_wrapped))
    inside = is_wrapped or (isinstance(node, ast.With) and any(_is_translator(item, translators) for item in node.items))
    for name, value in ast.iter_fields(node):
        in_try = isinstance(node, ast.Try) and name == "body" and bool(node.handlers)
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                _read(child, function, names, translators, is_wrapped=inside or in_try)


def _is_translator(item: ast.withitem, translators: set[str]) -> bool:
    return isinstance(item.context_expr, ast.Call) and ast.unparse(item.context_expr.func).rpartition(".")[2] in translators


def packages() -> Iterator[tuple[str, list[Path]]]:
    for path in sorted((LIBRARY / "adapters").iterdir()):
        if path.is_dir() and path.name != "__pycache__":
            yield f"adapters/{path.name}", sorted(path.glob("*.py"))
        elif path.suffix == ".py" and path.name != "__init__.py":
            yield f"adapters/{path.stem}", [path]
    for name in ("postgres", "stack"):
        yield name, sorted((LIBRARY / name).glob("*.py"))


@pytest.mark.parametrize(("package", "files"), [pytest.param(*each, id=each[0]) for each in packages()])
def test_no_vendors_error_passes_the_edge(package: str, files: list[Path]) -> None:
    found = find_unwrapped({file.name: file.read_text() for file in files})
    assert [each for each in found if f"{package}:{each.partition(' ')[0]}" not in KNOWN] == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import mlflow\ndef read(): return mlflow.load(1)", ["read → mlflow.load"]),
        ("def read(): return _read()\ndef _read():\n    from mlflow import load\n    return load(1)", ["read → mlflow.load"]),
        ("import mlflow\ndef read():\n    try: return mlflow.load(1)\n    except OSError: raise ValueError from None", []),
        ("import mlflow\ndef read():\n    with translated(): return _read()\ndef _read(): return mlflow.load(1)", []),
        ("class A:\n    def read(self): return self._client.get(1)", ["read → self._client.get"]),
    ],
)
def test_an_unwrapped_call_is_found(source: str, found: list[str]) -> None:
    assert find_unwrapped({"new.py": source}) == found

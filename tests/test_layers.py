"""Imports point down only: the layers of docs/architecture.md."""

from __future__ import annotations

import ast
from pathlib import Path

import bootserve

PACKAGE = Path(bootserve.__file__).parent

LAYERS = {
    "errors": 0,
    "resources": 1,
    "__init__": 0,
    "model": 1,
    "wire": 2,
    "core": 3,
    "store": 4,
    "build": 4,
    "servers": 5,
    "settings": 6,
    "service": 7,
    "probe": 8,
    "cli": 9,
    "__main__": 10,
}
APART = {("store", "build"), ("build", "store"), ("store", "wire")}
"""Of the same layer, or of no business with each other."""

SERVING_ONLY_STDLIB = {
    "wire": {"asyncio", "socket", "time", "selectors", "threading"},
    "core": {"asyncio", "socket", "sqlite3", "sqlalchemy", "time", "threading"},
    "model": {"asyncio", "socket", "time", "os", "pathlib"},
}
"""What a layer must stay free of to be testable without I/O."""


def _place(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _imports(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            found.append(node.module or "")
            if node.module == "bootserve":
                found += [f"bootserve.{alias.name}" for alias in node.names]
    return found


MODULES = sorted(PACKAGE.rglob("*.py"))


def test_every_module_is_in_a_layer() -> None:
    assert {_place(path) for path in MODULES} <= set(LAYERS)
    assert len(MODULES) > 50


def test_imports_point_down() -> None:
    wrong = []
    for path in MODULES:
        here = _place(path)
        for name in _imports(path):
            parts = name.split(".")
            if parts[0] != "bootserve" or len(parts) == 1:
                continue
            there = parts[1] if parts[1] in LAYERS else "__init__"
            if there != here and (LAYERS[there] >= LAYERS[here] or (here, there) in APART):
                wrong.append(f"{path.relative_to(PACKAGE)} imports {name}")
    assert not wrong


def test_pure_layers_do_no_io() -> None:
    wrong = []
    for path in MODULES:
        banned = SERVING_ONLY_STDLIB.get(_place(path), set())
        wrong += [
            f"{path.relative_to(PACKAGE)} imports {name}"
            for name in _imports(path)
            if name.split(".")[0] in banned
        ]
    assert not wrong


def test_scapy_and_tftpy_are_for_the_probe_alone() -> None:
    for path in (one for one in MODULES if _place(one) != "probe"):
        assert not {name.split(".")[0] for name in _imports(path)} & {"scapy", "tftpy"}


def test_modules_and_functions_are_small() -> None:
    wrong = []
    checkout = PACKAGE.parent
    folders = ("bootserve", "vm-harness", "bench", "deploy", "images", "tests")
    for path in sorted(one for folder in folders for one in (checkout / folder).rglob("*.py")):
        text = path.read_text()
        if text.count("\n") > 400:
            wrong.append(f"{path.relative_to(checkout)} has {text.count(chr(10))} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > 50:
                    wrong.append(f"{path.relative_to(checkout)}: {node.name} has {lines} lines")
    assert not wrong

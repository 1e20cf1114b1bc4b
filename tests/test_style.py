"""Habits of this code base that ruff does not know."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "vrn_jax").rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_small(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 300
    assert path.stem not in {"utils", "helpers", "common", "misc"}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= 60, f"{node.name} has {length} lines"
            assert len(node.args.args) <= 8, f"{node.name} takes too many positional arguments"


def calls(tree: ast.AST, name: str) -> bool:
    return any(
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name
        for node in ast.walk(tree)
    )


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_package_neither_prints_nor_exits(path):
    tree = ast.parse(path.read_text())
    assert not calls(tree, "exit")
    if path.parent.name != "cli":
        assert not calls(tree, "print")


def test_nothing_speaks_of_the_machine_it_was_written_on():
    for path in [*SOURCES, *ROOT.glob("*.py"), *ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]:
        text = path.read_text()
        assert "/work/" not in text, path
        assert "/tmp/" not in text, path

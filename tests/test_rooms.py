"""The layout of the package: few doors, files of a readable length, plain names, one way from a card to a cell."""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "probing"
FILES = sorted(PACKAGE.rglob("*.py"))
BANNED = {"found", "said", "here", "mine", "asked"}


def test_the_package_has_few_doors():
    modules = [path.name for path in PACKAGE.glob("*.py")]
    folders = [path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()]
    assert len(modules) <= 12, modules
    assert len(folders) <= 13, folders


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_has_at_most_300_lines(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300


def names(tree):
    """Names that the code binds: variables, parameters, attributes of self."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr.lstrip("_"), node.lineno


def test_the_names_reader_sees_all_kinds_of_names():
    tree = ast.parse("def f(said, *, here=1):\n    for mine in said:\n        self._asked = (found := mine)\n")
    assert BANNED == {name for name, _ in names(tree)} & BANNED


@pytest.mark.parametrize("folder", ["probing", "scripts"])
def test_no_variable_has_a_name_that_says_nothing(folder):
    places = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        places += [f"{path.relative_to(ROOT)}:{line}: {name}" for name, line in names(tree) if name in BANNED]
    assert not places, f"{len(places)}: " + "; ".join(places[:20])


def test_every_function_has_few_parameters():
    """Options that travel together are one object. What a user calls by keyword (evaluate, flash) may have more."""
    many = Counter()
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                given = node.args.posonlyargs + node.args.args
                if len([one for one in given if one.arg not in ("self", "cls")]) > 7:
                    many[f"{path.relative_to(PACKAGE)}: {node.name}"] = len(given)
    assert not many, many


def test_contributing_names_files_that_are_there():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for name in re.findall(r"`((?:probing|conf|tasks|scripts|results|tests|docs)/[\w./-]+)`", text):
        assert (ROOT / name).exists() or "NAME" in name, name

"""Keys that a person's own model reads and that nobody gives: RecBole's ``config["x"]`` is None then."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from functools import cache
from typing import Any

from recbole_mm.config.known import is_config, own_classes, source_texts


def missing_keys(config: Any) -> list[str]:
    """A sentence for each key that a class outside of our package reads as ``config["x"]`` and that has no default.

    A key that the class also asks for (``"x" in config``), tests, or gives a value of its own (``config["x"] or 3``)
    may be missing.
    """
    found = []
    for each in own_classes(config.model_class):
        if each.__module__.split(".")[0] == "recbole_mm":
            continue
        for file, text in source_texts(each).items():
            for key, line in _needed(text, each.__name__).items():
                if key not in config:
                    where = file.removeprefix(f"{os.getcwd()}{os.sep}")
                    found.append(
                        f"{where}, line {line}, reads '{key}', which nobody gives: add --{key}=VALUE"
                    )
    return found


@cache
def _needed(text: str, name: str) -> dict[str, int]:
    """Keys that a class of this source cannot do without, each with its first line."""
    try:
        classes = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.ClassDef) and n.name == name]
    except SyntaxError:
        return {}
    nodes = [node for each in classes for node in ast.walk(each)]
    optional = {key for node in nodes for part in _tested(node) for key, _ in _reads(part)}
    asked = {
        node.left.value
        for node in nodes
        if isinstance(node, ast.Compare)
        and isinstance(node.left, ast.Constant)
        and isinstance(node.left.value, str)
    }
    reads = sorted((line, key) for node in nodes for key, line in _reads(node))
    return {key: line for line, key in reversed(reads) if key not in optional | asked}


def _reads(node: ast.AST) -> Iterator[tuple[str, int]]:
    match node:
        case ast.Subscript(value=owner, slice=ast.Constant(value=str(key)), ctx=ast.Load()) if is_config(
            owner
        ):
            yield key, node.lineno


def _tested(node: ast.AST) -> list[ast.AST]:
    """The parts of an expression or statement that may well be None."""
    match node:
        case ast.BoolOp(values=values):
            return list(values[:-1])
        case ast.If(test=test) | ast.IfExp(test=test) | ast.Assert(test=test):
            return [test]
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return [operand]
        case ast.Compare(left=left, comparators=[ast.Constant(value=None)]):
            return [left]
    return []

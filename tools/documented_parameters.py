# SPDX-License-Identifier: Apache-2.0
"""Lists public functions of the package whose docstring does not name each of their parameters.

    python tools/documented_parameters.py

ruff's D417 looks only at docstrings that have a section `Args:`; this looks at all of them. A method of a
protocol is documented there: its implementations say "See `Protocol.method`."
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "streamingtalker_ros"
NOT_DOCUMENTED = {"overload", "setter"}  # decorators of definitions that carry no docstring of their own


def public_functions(body: list[ast.stmt]) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield the public functions and methods of a module or class.

    Args:
        body: Its statements.
    """
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_functions(node.body)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            decorators = {getattr(item, "id", getattr(item, "attr", None)) for item in node.decorator_list}
            if not decorators & NOT_DOCUMENTED:
                yield node


def undocumented_parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """Return the parameters that the docstring does not name.

    Args:
        function: A function or method.
    """
    docstring = ast.get_docstring(function) or ""
    if re.fullmatch(rf"See `\w+\.{function.name}`\.", docstring):
        return []
    arguments = function.args
    names = [item.arg for item in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    return [
        name
        for name in names
        if name not in ("self", "cls") and not re.search(rf"\b{re.escape(name)}\b", docstring)
    ]


def main() -> int:
    """Print the findings.

    Returns:
        0 if there is none, 1 otherwise.
    """
    findings = 0
    for path in sorted(PACKAGE.rglob("*.py")):
        for function in public_functions(ast.parse(path.read_text(encoding="utf-8")).body):
            if missing := undocumented_parameters(function):
                findings += 1
                place = f"{path.relative_to(PACKAGE.parent)}:{function.lineno}"
                print(f"{place}: {function.name}: parameters without a description: {', '.join(missing)}")
    return int(findings > 0)


if __name__ == "__main__":
    sys.exit(main())

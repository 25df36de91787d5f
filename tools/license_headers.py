#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Finds the source files that lack the license line at their head; `--fix` adds it.

The line is the first of the file, or the second after `#!`. Files are those that git knows, or those of
the folder where it is no git checkout.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LICENSE = "SPDX-License-Identifier: Apache-2.0"
COMMENTS = {".py": "#", ".cmake": "#", ".sh": "#", ".js": "//", ".mjs": "//", ".ts": "//", ".css": "/*"}
NAMES = {"CMakeLists.txt": "#", "Makefile": "#", "Dockerfile": "#"}
SKIPPED = ("node_modules", "build", "install", "log", "dist", "runs", "static")


def source_files(root: Path) -> list[Path]:
    """The files below `root` that are to carry the line, sorted."""
    listed = subprocess.run(
        ["git", "-C", str(root), "ls-files", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        text=True,
    )
    names = listed.stdout.splitlines() if listed.returncode == 0 else _walk(root)
    return sorted(root / name for name in names if (root / name).is_file() and comment_of(root / name))


def _walk(root: Path) -> list[str]:
    parts = ((path, path.relative_to(root).parts) for path in root.rglob("*"))
    return [
        "/".join(names)
        for path, names in parts
        if path.is_file() and not any(name in SKIPPED or name.startswith(".") for name in names)
    ]


def comment_of(path: Path) -> str | None:
    """What begins a comment in this file, by its ending, name or `#!`; None for what is no source file."""
    known = COMMENTS.get(path.suffix) or NAMES.get(path.name)
    if known or path.suffix:
        return known
    with path.open("rb") as file:
        return "#" if file.read(2) == b"#!" else None


def with_header(text: str, comment: str) -> str:
    """The text of a file with the line in its place; the same text where it stands already."""
    line = f"{comment} {LICENSE}" + (" */" if comment == "/*" else "")
    head, rest = "", text
    if text.startswith("#!"):
        head, _, rest = text.partition("\n")
        head += "\n"
    return text if rest.startswith(line) else f"{head}{line}\n{rest}"


def main(argv: list[str] | None = None) -> int:
    """Return 0 where every file has the line, else 1."""
    parser = argparse.ArgumentParser(allow_abbrev=False, description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--fix", action="store_true", help="add the line where it is missing")
    fix = parser.parse_args(argv).fix
    lacking = 0
    for path in source_files(ROOT):
        text = path.read_text(encoding="utf-8")
        wanted = with_header(text, comment_of(path) or "#")
        if wanted == text:
            continue
        lacking += 1
        if fix:
            path.write_text(wanted, encoding="utf-8")
        print(f"{path.relative_to(ROOT)}: {'added' if fix else 'lacks'} the line '{LICENSE}'")
    return 1 if lacking and not fix else 0


if __name__ == "__main__":
    sys.exit(main())

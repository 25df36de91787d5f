# SPDX-License-Identifier: Apache-2.0
"""A hook of mkdocs: a link from docs/ to another file of the repository becomes the path of that file.

The site carries docs/ alone, and `mkdocs build --strict` would take such a link for a broken one. A file that
does not exist stops the build.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

OUTSIDE = re.compile(r"\[([^\]]+)\]\((\.\./[^)#]+)(#[^)]*)?\)")


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:
    """Called by mkdocs with the text of each page; returns the text to render."""
    folder = Path(page.file.abs_src_path).parent
    docs = Path(config["docs_dir"]).resolve()

    def path_of(link: re.Match[str]) -> str:
        target = (folder / link[2]).resolve()
        if target.is_relative_to(docs):
            return link[0]
        if not target.exists():
            raise FileNotFoundError(f"{page.file.src_path} links to {link[2]}, which does not exist")
        return f"{link[1]} (`{target.relative_to(docs.parent)}`)"

    return OUTSIDE.sub(path_of, markdown)

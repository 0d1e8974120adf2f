"""Point links of the documentation to files outside `docs/` at the repository.

MkDocs calls this for each page. In the repository, the links work unchanged.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

LINK = re.compile(r"\]\((?:\.\./)+([A-Za-z_.][^)]*)\)")


def on_page_markdown(
    markdown: str,
    page: Page,
    config: MkDocsConfig,
    files: Files,  # noqa: ARG001 -- MkDocs passes it by name
) -> str:
    """Rewrite links to files outside `docs/`.

    Args:
        markdown: The page's text.
        page: The page.
        config: The site's configuration.
        files: All pages.

    Returns:
        The text with absolute links.
    """
    depth = len(PurePosixPath(page.file.src_uri).parts)

    def absolute(match: re.Match[str]) -> str:
        if match[0].count("../") < depth:
            return match[0]
        return f"]({config.repo_url}/blob/main/{match[1]})"

    return LINK.sub(absolute, markdown)

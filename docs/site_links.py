"""A hook of MkDocs: pages of the project's root are on the site too, and links lead where they lead in the repository.

A page links to files of the repository by relative paths. Those in `docs/` are pages of the site already. Any other
file that a page links to is put on the site as it is, beside the pages.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
DOCS = "docs/"
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")
"""Pages of the project's root."""
LINK = re.compile(r"(\]\()([^)#\s]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages of the root, and what the pages link to outside `docs/`."""
    for name in PAGES:
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    for page in files.documentation_pages():
        for _, target in LINK.findall(page.content_string):
            place = _in_repository(page.src_uri, target)
            if place and not place.startswith(DOCS) and files.get_file_from_path(place) is None:
                files.append(File.generated(config, place, abs_src_path=str(ROOT / place)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrites a page's relative links to where the site has what they lead to."""
    del config, files
    folder = posixpath.dirname(page.file.src_uri)

    def rewritten(link: re.Match[str]) -> str:
        place = _in_repository(page.file.src_uri, link[2])
        return link[1] + posixpath.relpath(place.removeprefix(DOCS), folder or ".") if place else link[0]

    return LINK.sub(rewritten, markdown)


def _in_repository(page: str, target: str) -> str:
    """The path from the project's root of what a page of the site links to; "" for other hosts."""
    if "://" in target or target.startswith("mailto:"):
        return ""
    home = "" if page in PAGES else DOCS
    return posixpath.normpath(posixpath.join(posixpath.dirname(home + page), target))

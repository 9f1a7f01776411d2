"""What the project's pages tell people to type, and where they point."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.glob("*.md"))]


def section(page: str, title: str) -> str:
    """The text below a heading, up to the next one of its level."""
    (found,) = re.findall(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", page, re.M | re.S)
    return str(found)


def typed(text: str) -> list[tuple[str, str]]:
    """What a person types in the examples of a text, in runs of one language: ("shell", lines)
    behind `$`, ("python", lines) behind `>>>` and `...`."""
    found = re.findall(r"^ *(\$|>>>|\.\.\.) ?(.*)$", text, re.M)
    runs = itertools.groupby(found, lambda line: "shell" if line[0] == "$" else "python")
    return [(language, "\n".join(line for _, line in lines)) for language, lines in runs]


def links(page: str) -> list[str]:
    """Targets inside the repository."""
    targets = re.findall(r"\]\(([^)\s]+)\)", page)
    return [t.split("#")[0] for t in targets if "://" not in t and not t.startswith("#")]

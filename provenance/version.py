"""Version of the package, read once from the installed metadata or the source tree."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

__all__ = ["VERSION"]


def _version() -> str:
    project = Path(__file__).resolve().parent.parent / "pyproject.toml"
    if project.is_file() and (match := re.search(r'^version = "([^"]+)"', project.read_text("utf-8"), re.M)):
        return match[1]
    try:
        return metadata.version("countermark")
    except metadata.PackageNotFoundError:
        return "0+unknown"


VERSION = _version()

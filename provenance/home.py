"""Where Countermark keeps a user's keys and trust settings on this machine."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from countermark.provenance.errors import MissingPart

__all__ = ["atomic_write", "home"]


def home() -> Path:
    """``$COUNTERMARK_HOME``, else ``$XDG_CONFIG_HOME/countermark``, else ``~/.config/countermark``."""
    if chosen := os.environ.get("COUNTERMARK_HOME"):
        return Path(chosen).expanduser()
    if xdg := os.environ.get("XDG_CONFIG_HOME"):
        return Path(xdg) / "countermark"
    try:
        return Path.home() / ".config" / "countermark"
    except RuntimeError as exc:  # no home directory, as in some containers
        raise MissingPart("This user has no home directory. Set COUNTERMARK_HOME to a private folder.") from exc


def atomic_write(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a file so that a reader sees the old or the new content, never a part.

    Args:
        path: target; its folder must exist.
        data: full content.
        mode: permission bits of the result.

    Raises:
        OSError: the folder cannot be written.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name[:40]}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(name, mode)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise

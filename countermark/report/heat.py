"""Heat maps of scanned files, written as PNG and as an array."""

from __future__ import annotations

from pathlib import Path

__all__ = ["write_heat_map"]


def write_heat_map(path: Path, sha256: str, folder: Path, model: str = "") -> Path:
    """Write `NAME-SHA.heat.png` and `.heat.npy` of one picture into a folder; returns the PNG's path.

    Args:
        path: the picture.
        sha256: of its bytes; the start of it keeps files of the same name apart.
        folder: made where it is missing.
        model: path of another classifier; empty for the shipped one.
    """
    from countermark.detectors.classifier.explain import write
    from countermark.detectors.classifier.model import shared
    from countermark.provenance.upload import Upload

    classifier = shared(Path(model) if model else None)
    return write(folder, f"{path.stem}-{sha256[:8]}", Upload.open(path).pixels, classifier)

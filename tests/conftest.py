"""Shared pictures, keys and the place where the given fixtures may lie."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from countermark.provenance.keys import init_keys

SHARED = Path(__file__).resolve().parent.parent.parent / "shared"
PROVENANCE = SHARED / "fixtures" / "provenance"


@pytest.fixture(autouse=True)
def classifier_off(request, monkeypatch):
    """Marks are tested without the pixels' opinion on synthetic pictures; the classifier's own tests turn it on."""
    if request.module.__name__ not in ("test_classifier", "test_train", "test_evaluate", "test_house"):
        monkeypatch.setenv("COUNTERMARK_CLASSIFIER", "off")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test has a home of its own: no key or trust setting of the machine takes part."""
    folder = tmp_path / "countermark-home"
    monkeypatch.setenv("COUNTERMARK_HOME", str(folder))
    return folder


@pytest.fixture
def keys(home: Path) -> Path:
    """A local authority and signing key."""
    init_keys()
    return home / "keys"


@pytest.fixture(scope="session")
def photo() -> Image.Image:
    """A real photograph of 512 x 512 (NASA, public domain; shipped with scikit-image)."""
    from skimage import data

    return Image.fromarray(data.astronaut())


@pytest.fixture
def encode(photo: Image.Image) -> Callable[..., bytes]:
    """Encode an image, the photograph by default, as bytes of a format."""

    def run(form: str = "JPEG", image: Image.Image | None = None, **options: object) -> bytes:
        out = io.BytesIO()
        (photo if image is None else image).save(out, form, **options)
        return out.getvalue()

    return run


@pytest.fixture
def shared() -> Path:
    """The given provenance fixtures; skipped where they are absent."""
    if not PROVENANCE.is_dir():
        pytest.skip("the given provenance fixtures (../shared/fixtures/provenance) are not beside the project")
    return PROVENANCE


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    """(H, W, 3) uint8 noise."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


os.environ.setdefault("COLUMNS", "200")

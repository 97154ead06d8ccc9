"""The bias audit: how well a classifier does that never sees a pixel.

If size, format, compression or quantisation tables tell real from generated, any detector measured on the dataset
may be reading those. The audit trains one on nothing else and reports its AUROC; 0.5 is a clean dataset.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from countermark.datasets.records import Record
from countermark.provenance.errors import MissingPart

FEATURES = {
    "size": ("width", "height", "pixels", "aspect", "square", "multiple of 8", "multiple of 64"),
    "format": ("jpeg", "png", "webp", "other format"),
    "compression": ("bytes", "bits per pixel"),
    "quantisation": ("luma table sum", "chroma table sum", "first luma step", "subsampling"),
    "metadata": ("exif bytes", "icc profile", "other metadata"),
}
"""Groups of features and their names, in the columns' order."""
Image.init()


def features(record: Record) -> NDArray[np.float64]:
    """What a file tells without its pixels, float64 (K,) in the order of `FEATURES`; NaN where it cannot be read."""
    count = sum(len(names) for names in FEATURES.values())
    try:
        data = record.path.read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            return np.array(_of(image, len(data)), np.float64)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return np.full(count, np.nan)


def _of(image: Image.Image, size: int) -> list[float]:
    width, height = image.size
    tables: dict[int, list[int]] = getattr(image, "quantization", None) or {}
    luma, chroma = tables.get(0, [0]), tables.get(1, [0])
    layers = getattr(image, "layer", None) or [(0, 0, 0, 0)]
    known = {"JPEG", "MPO", "PNG", "WEBP"}
    info = {
        k
        for k in image.info
        if k not in ("jfif", "jfif_version", "jfif_unit", "jfif_density", "dpi", "exif", "icc_profile")
    }
    return [
        width, height, math.log(width * height), width / height, width == height,
        width % 8 == 0 and height % 8 == 0, width % 64 == 0 and height % 64 == 0,
        image.format in ("JPEG", "MPO"), image.format == "PNG", image.format == "WEBP", image.format not in known,
        math.log(size), 8 * size / (width * height),
        sum(luma), sum(chroma), luma[0], layers[0][1] * 10 + layers[0][2],
        len(image.info.get("exif", b"")), "icc_profile" in image.info, len(info),
    ]  # fmt: skip


def shortcut_scores(records: Sequence[Record], seed: int = 0) -> dict[str, float]:
    """AUROC of gradient-boosted trees on each group of features and on all, five-fold, folds kept by source.

    Returns:
        By group and for `all`: AUROC in [0, 1]; NaN where there are too few sources to keep folds apart.

    Raises:
        MissingPart: scikit-learn is not installed.
    """
    try:
        from sklearn.ensemble import HistGradientBoostingClassifier
        from sklearn.metrics import roc_auc_score
        from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
    except ImportError:
        raise MissingPart("The bias audit needs scikit-learn: pip install 'countermark[evaluate]'.") from None
    table = np.stack([features(record) for record in records])
    target = np.array([record.target for record in records])
    sources = np.array([record.source for record in records])
    folds = min(5, *(len(set(sources[target == label])) for label in (0, 1)))
    result: dict[str, float] = {}
    start = 0
    for name, columns in [*((n, len(c)) for n, c in FEATURES.items()), ("all", table.shape[1])]:
        part = table if name == "all" else table[:, start : start + columns]
        start += columns
        if folds < 2:
            result[name] = math.nan
            continue
        model = HistGradientBoostingClassifier(max_iter=100, random_state=seed)
        split = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        chance = cross_val_predict(model, part, target, groups=sources, cv=split, method="predict_proba")[:, 1]
        result[name] = round(float(roc_auc_score(target, chance)), 4)
    return result

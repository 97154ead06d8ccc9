"""Draw the visible label: on pixels, as SVG, as an HTML snippet with alt text, and as atproto label values.

A label is a solid plate with text, so that its contrast does not depend on the picture; the plate is light on
dark pictures and dark on light ones, with an outline in the text's colour.
"""

from __future__ import annotations

import html
import math
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from countermark.provenance.errors import UsageError

if TYPE_CHECKING:
    from PIL import ImageFont

__all__ = ["FORMS", "Form", "atproto_values", "contrast", "draw_label", "html_snippet", "svg_label"]

Pixels = npt.NDArray[np.uint8]
DARK, LIGHT = (17, 19, 24), (255, 255, 255)
_MIN_TEXT = 9  # pixels; below it letters run together
_CAPITALS = 0.73  # height of capitals in this font, of its size
_MARGIN = 0.025  # of the short side


@dataclass(frozen=True, slots=True)
class Form:
    """How a kind of label is drawn.

    Attributes:
        corner: ``top right``, ``bottom right`` or ``bottom left``.
        share: height of the text as a share of the picture's side.
        side: ``short`` or ``long``: which side ``share`` refers to.
        short: wording for pictures too small for the full one.
        language: language of the text that is drawn.
    """

    corner: str
    share: float
    side: str = "short"
    short: str = "AI"
    language: str = "en"


FORMS: dict[str, Form] = {
    "eu-ai": Form("top right", 0.045),
    "eu-generated": Form("top right", 0.045),
    "eu-modified": Form("top right", 0.045),
    "cn-corner": Form("bottom right", 0.05, short="AI生成", language="zh"),
    "commons": Form("bottom left", 0.05, "long"),
    "cr-pin": Form("top right", 0.05, short="cr"),
    "plain": Form("bottom left", 0.045),
}


def contrast(a: tuple[int, int, int], b: tuple[int, int, int]) -> float:
    """Contrast ratio of two sRGB colours, 1 to 21 (WCAG 2.2, "contrast ratio")."""
    lighter, darker = sorted((_luminance(a), _luminance(b)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: tuple[int, int, int]) -> float:
    linear = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@lru_cache(maxsize=64)
def _font(size: int) -> ImageFont.FreeTypeFont:
    from PIL import ImageFont

    data = resources.files("countermark.policies").joinpath("fonts", "label-sans-bold.otf").read_bytes()
    return ImageFont.truetype(BytesIO(data), size)


def _lines(text: str, size: int, width: int) -> list[str] | None:
    """Text broken to a width, between words or, in Chinese, anywhere; None where a word does not fit."""
    font = _font(size)
    spaced = " " in text or text.isascii()
    words, joint = (text.split(" "), " ") if spaced else (list(text), "")
    lines = [""]
    for word in words:
        longer = f"{lines[-1]}{joint}{word}" if lines[-1] else word
        if font.getlength(longer) <= width:
            lines[-1] = longer
        elif font.getlength(word) > width:
            return None
        else:
            lines.append(word)
    return lines


def _short(text: str, form: Form) -> str:
    """The short wording; a doubt that the full one states is kept."""
    doubt = next((d for d in ("疑似", "可能") if text.startswith(d)), "")
    return doubt + form.short


def _fit(text: str, form: Form, width: int, height: int) -> tuple[list[str], int]:
    """Lines and text size: the full wording, else the short one, as large as a third of the height allows."""
    side = min(width, height) if form.side == "short" else max(width, height)
    size = max(_MIN_TEXT, math.ceil(math.ceil(side * form.share) / _CAPITALS))
    short = _short(text, form)
    while size > _MIN_TEXT:
        for words in (text, short):
            lines = _lines(words, size, round(width * 0.92 - size))
            if lines and len(lines) * size * 1.25 + size * 0.45 <= height / 3:
                return lines, size
        size = max(_MIN_TEXT, round(size * 0.9))
    for words in (text, short):
        lines = _lines(words, _MIN_TEXT, width - 4)
        if lines and len(lines) * _MIN_TEXT * 1.25 + 4 <= height / 2:
            return lines, _MIN_TEXT
    raise UsageError(f"A {width} x {height} picture is too small for a readable label; put it beside the picture.")


def draw_label(rgb: Pixels, text: str, form: str = "plain") -> tuple[Pixels, dict[str, Any]]:
    """Draw a label into a corner.

    Args:
        rgb: (H, W, 3) uint8, RGB, [0, 255]; not changed.
        text: full wording.
        form: one of `FORMS`.

    Returns:
        The labelled picture, and where and how it was drawn: ``box`` (left, top, right, bottom), ``text``,
        ``size`` (text height in pixels), ``contrast``.

    Raises:
        UsageError: unknown form, or too small a picture.
    """
    from PIL import Image, ImageDraw

    if form not in FORMS:
        raise UsageError(f"Unknown label form {form!r}. Allowed: {', '.join(FORMS)}.")
    shape, (height, width) = FORMS[form], rgb.shape[:2]
    lines, size = _fit("cr" if form == "cr-pin" else text, shape, width, height)
    box = _place(lines, size, shape, width, height)
    plate, ink = _colours(rgb, box)
    image = Image.fromarray(rgb)
    draw = ImageDraw.Draw(image)
    line = max(1, size // 14)
    draw.rounded_rectangle(box, radius=size // 3, fill=plate, outline=ink, width=line)
    font, step = _font(size), round(size * 1.25)
    for index, words in enumerate(lines):
        middle = (box[0] + box[2]) / 2
        draw.text((middle, box[1] + size * 0.85 + index * step), words, font=font, fill=ink, anchor="mm")
    details = {
        "box": list(box),
        "text": " ".join(lines),
        "size": round(size * _CAPITALS),
        "contrast": contrast(plate, ink),
    }
    return np.asarray(image), details


def _place(lines: list[str], size: int, form: Form, width: int, height: int) -> tuple[int, int, int, int]:
    inner = max(_font(size).getlength(words) for words in lines)
    w, h = min(width - 2, round(inner + size)), min(height - 2, round(size * (0.45 + 1.25 * len(lines))))
    margin = min(round(min(width, height) * _MARGIN), (width - w) // 2, (height - h) // 2)
    left = width - margin - w if "right" in form.corner else margin
    top = margin if "top" in form.corner else height - margin - h
    return left, top, left + w - 1, top + h - 1


def _colours(rgb: Pixels, box: tuple[int, int, int, int]) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Plate and ink: the plate that stands out more from what is behind it."""
    behind = rgb[box[1] : box[3] + 1, box[0] : box[2] + 1].reshape(-1, 3).mean(axis=0)
    mean = (int(behind[0]), int(behind[1]), int(behind[2]))
    return (LIGHT, DARK) if contrast(mean, LIGHT) >= contrast(mean, DARK) else (DARK, LIGHT)


def svg_label(text: str, form: str = "plain", height: int = 40) -> str:
    """The label as a stand-alone SVG, for pages that lay it over a picture.

    Args:
        text: wording.
        form: one of `FORMS`.
        height: height of the plate in pixels.
    """
    words = html.escape("cr" if form == "cr-pin" else text)
    width = round(_font(max(_MIN_TEXT, height // 2)).getlength(html.unescape(words)) + height * 0.6)
    dark, light = (f"#{r:02x}{g:02x}{b:02x}" for r, g, b in (DARK, LIGHT))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img" aria-label="{words}"><rect x="1" y="1" width="{width - 2}" height="{height - 2}" '
        f'rx="{height // 4}" fill="{dark}" stroke="{light}" stroke-width="2"/><text x="{width / 2}" '
        f'y="{height / 2}" fill="{light}" font-family="system-ui, sans-serif" font-weight="700" '
        f'font-size="{height // 2}" text-anchor="middle" dominant-baseline="central">{words}</text></svg>'
    )


def html_snippet(text: str, image: str, alt: str, language: str = "en") -> str:
    """A picture with its label beside it, for a page; the label is text, so that it is read aloud.

    Args:
        text: wording.
        image: address of the picture.
        alt: what the picture shows.
        language: language of the wording.
    """
    label = html.escape(text)
    return (
        f'<figure><img src="{html.escape(image)}" alt="{html.escape(alt)} ({label})">'
        f'<figcaption lang="{html.escape(language)}"><strong>{label}</strong></figcaption></figure>'
    )


def atproto_values(text: str) -> dict[str, Any]:
    """A label value definition as a labeler publishes it (app.bsky.labeler, com.atproto.label.defs)."""
    description = f"{text}. Emitted only for signed, keyed or declared evidence, never from pixels alone."
    return {
        "identifier": "ai-generated",
        "severity": "inform",
        "blurs": "none",
        "defaultSetting": "warn",
        "adultOnly": False,
        "locales": [{"lang": "en", "name": text, "description": description}],
    }

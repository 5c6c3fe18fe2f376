"""Pixels of an image file as every model here sees them: upright, RGB, 8 bits, opaque.

The rules are `READING`; the model card of an export shows the source of these functions, which
therefore need nothing of this project but `GROUND`.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
from PIL import Image

GROUND = (128, 128, 128)  # under transparent pixels: black and white drawings both remain visible
READING: dict[str, Any] = {
    "frame": 0,  # of GIF, TIFF, WebP, APNG
    "orientation": "applied",  # the EXIF tag, or XMP's
    "transparency_ground": list(GROUND),
    "integer_range": {
        "16 bits": [0, 65535],
        "12 bits, TIFF": [0, 4095],
        "32 bits, or signed 16 bits, TIFF": "SMaxSampleValue or MaxSampleValue; refused without",
    },
    "floating_point": "refused",
    "color_profile": "ignored",
    "gamma": "ignored",
    "color": "RGB",
}


def reading_rules() -> str:
    """Return 8 hexadecimal digits that change with the rules."""
    return hashlib.sha256(json.dumps(READING, sort_keys=True).encode()).hexdigest()[:8]


def to_rgb(image: Image.Image) -> Image.Image:
    """Return the first frame upright in RGB, transparency laid on `GROUND`.

    Raises:
        ValueError: if the range of the pixels' values is not known.
    """
    top = integer_range(image)
    hidden = image.info.get("transparency")
    image.load()
    turns = Image.Transpose
    upright = {
        2: turns.FLIP_LEFT_RIGHT,
        3: turns.ROTATE_180,
        4: turns.FLIP_TOP_BOTTOM,
        5: turns.TRANSPOSE,
        6: turns.ROTATE_270,
        7: turns.TRANSVERSE,
        8: turns.ROTATE_90,
    }
    try:
        turn = upright.get(image.getexif().get(0x0112, 1))
    except Exception:  # noqa: BLE001  # damaged EXIF data count as none
        turn = None
    if turn is not None:
        image = image.transpose(turn)
    if top is not None:
        values = np.asarray(image).astype(np.float64)
        grey = Image.fromarray((values * (255 / top)).clip(0, 255).round().astype(np.uint8))
        if isinstance(hidden, int):
            grey.putalpha(Image.fromarray(np.where(values == hidden, 0, 255).astype(np.uint8)))
        image = grey
    if image.mode in ("La", "RGBa"):
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])
    if image.mode in ("LA", "PA", "RGBA") or (top is None and hidden is not None):
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (*GROUND, 255)), image)
    return image.convert("RGB")


def integer_range(image: Image.Image) -> float | None:
    """Return the largest value of greys of more than 8 bits; None for all other images.

    Raises:
        ValueError: if it is not known, or the pixels are floating point.
    """
    if image.mode == "F":
        raise ValueError("unknown range: pixels in floating point")
    if not image.mode.startswith("I"):
        return None
    tags: Any = getattr(image, "tag_v2", {})
    for number in (341, 281):  # SMaxSampleValue, MaxSampleValue
        declared = tags.get(number)
        if declared is not None:
            value = max(declared) if isinstance(declared, tuple) else declared
            if value > 0:
                return float(value)
    if image.mode.startswith("I;16"):
        return 4095.0 if tags.get(258) in ((12,), 12) else 65535.0
    if image.format in ("PNG", "PPM"):  # Pillow scales PPM's greys to 16 bits
        return 65535.0
    raise ValueError("unknown range: integer pixels of more than 16 bits, or signed, no maximum")


def square(image: Image.Image, side: int) -> Image.Image:
    """Return the square at the centre, as large as the shorter side, resized to `side`."""
    width, height = image.size
    if (width, height) == (side, side):
        return image
    shorter = min(width, height)
    left, top = (width - shorter) / 2, (height - shorter) / 2
    box = (left, top, left + shorter, top + shorter)
    return image.resize((side, side), Image.Resampling.BILINEAR, box=box)

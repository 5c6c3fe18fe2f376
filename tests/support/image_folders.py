"""Image folders of noise, no two images alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def save(path: Path, value: int, size: tuple[int, int] = (10, 8), mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(value)
    pixels = generator.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)


def make(root: Path, splits: dict[str, int], classes: tuple[str, ...] = ("cat", "dog")) -> Path:
    number = 0
    for split, count in splits.items():
        for name in classes:
            for index in range(count):
                number += 1
                save(root / split / name / f"{index}.png", number)
    return root

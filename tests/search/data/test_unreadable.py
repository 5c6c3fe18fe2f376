from __future__ import annotations

import io
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from image_folders import make
from PIL import Image

from search.data import load_data, unreadable_words
from search.errors import UsageError


def encoded(kind: str, pixels: np.ndarray | None = None) -> bytes:
    if pixels is None:
        pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


DAMAGED: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "empty": ("x.png", lambda: b"", "zero bytes"),
    "text": ("x.jpg", lambda: b"<html>", "not an image, or of a kind that is not read"),
    "cut png": ("x.png", lambda: encoded("PNG")[:200], "truncated: "),
    "cut jpeg": ("x.jpg", lambda: encoded("JPEG")[:400], "truncated: "),
    "cut tiff": ("x.png", lambda: encoded("TIFF")[:400], ""),
    "cut gif": ("x.png", lambda: encoded("GIF")[:500], ""),
    "floats": (
        "x.png",
        lambda: encoded("TIFF", np.ones((4, 4), np.float32)),
        "unknown range: pixels in floating point",
    ),
    "32-bit": (
        "x.png",
        lambda: encoded("TIFF", np.ones((4, 4), np.int32)),
        "unknown range: integer pixels of more than 16 bits",
    ),
    "flipped": (
        "x.png",
        lambda: encoded("PNG")[:60] + b"\xff" * 40 + encoded("PNG")[100:],
        "",
    ),
}


@pytest.mark.parametrize("form", ["folder:", "timm:folder@"])
@pytest.mark.parametrize("case", DAMAGED)
def test_each_unreadable_image_is_named_with_its_reason(
    tmp_path: Path, form: str, case: str
) -> None:
    make(tmp_path, {"train": 60, "validation": 2})
    name, content, reason = DAMAGED[case]
    path = tmp_path / "train" / "cat" / name
    path.write_bytes(content())
    items = load_data(f"{form}{tmp_path}", 8).unreadable
    assert [item.name for item in items] == [str(path)]
    assert items[0].reason.startswith(reason)
    assert "\n" not in items[0].reason
    assert unreadable_words(items) == f"skipped 1 unreadable images: {path} ({items[0].reason})"


def test_an_image_beyond_pillows_size_limit_is_named_with_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, {"train": 60, "validation": 2})
    Image.new("1", (40, 40)).save(tmp_path / "train" / "dog" / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    (item,) = load_data(f"folder:{tmp_path}", 8).unreadable
    assert item.reason == "size limit: more than 1,000 pixels"


def test_a_refusal_gives_the_reasons_too(tmp_path: Path) -> None:
    make(tmp_path, {"train": 9, "validation": 9})
    for index in range(9):
        (tmp_path / "validation" / "cat" / f"{index}.png").write_bytes(b"")
    words = r"9 of 36 images cannot be read; .*cat/0.png \(zero bytes\), .* and 4 more$"
    with pytest.raises(UsageError, match=re.compile(words)):
        load_data(f"folder:{tmp_path}", 8)


def test_a_pipe_among_timms_images_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    root = make(tmp_path, {"train": 4, "validation": 2})
    (root / "train/cat/0.png").unlink()
    os.mkfifo(root / "train/cat/0.png")
    with pytest.raises(UsageError, match="cat/0.png: got a pipe, socket or device"):
        load_data(f"timm:folder@{root}", 8)

from __future__ import annotations

import io
import json
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from search.data._splits import to_tensor
from search.data.pixels import GROUND, READING, square, to_rgb
from search.export._model_card import reading_code
from search.training.preprocessing import PREPROCESSING, normalise

GREYS = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)


def stored(image: Image.Image, kind: str, **options: Any) -> Image.Image:
    """The image as it comes back from a file of that kind."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    stream.seek(0)
    return Image.open(stream)


def glyph(value: int) -> Image.Image:
    """One opaque pixel of `value` on a transparent ground of the same value."""
    image = Image.new("LA", (8, 8), (value, 0))
    image.putpixel((1, 2), (value, 255))
    return image


def declared(tag: int, value: int, values: np.ndarray) -> Image.Image:
    directory = ImageFileDirectory_v2()
    directory.tagtype[tag] = 4  # LONG
    directory[tag] = value
    return stored(Image.fromarray(values), "TIFF", tiffinfo=directory)


@pytest.mark.parametrize("value", [0, 255])
@pytest.mark.parametrize(
    ("mode", "kind"),
    [("LA", "PNG"), ("RGBA", "PNG"), ("LA", "TIFF"), ("RGBA", "TIFF"), ("RGBA", "WEBP")],
)
def test_a_glyph_of_either_colour_is_visible_on_a_transparent_ground(
    value: int, mode: str, kind: str
) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    pixels = np.asarray(to_rgb(stored(glyph(value).convert(mode), kind, **options)))
    assert pixels[2, 1].tolist() == [value] * 3
    assert pixels[0, 0].tolist() == list(GROUND)


@pytest.mark.parametrize(
    ("mode", "kind", "transparency"),
    [
        ("L", "PNG", 0),
        ("1", "PNG", 0),
        ("P", "PNG", 0),
        ("P", "PNG", b"\x00"),
        ("P", "GIF", 0),
        ("RGB", "PNG", (0, 0, 0)),
        ("I;16", "PNG", 0),
    ],
)
def test_a_colour_declared_transparent_becomes_the_ground(
    mode: str, kind: str, transparency: Any
) -> None:
    image = stored(Image.new(mode, (8, 8)), kind, transparency=transparency)
    assert np.asarray(to_rgb(image)).reshape(-1, 3).tolist() == [list(GROUND)] * 64


def test_half_transparency_mixes_and_full_opacity_changes_nothing() -> None:
    half = Image.new("RGBA", (1, 1), (255, 0, 0, 128))
    assert np.asarray(to_rgb(half))[0, 0].tolist() == [192, 64, 64]
    colours = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    opaque = Image.fromarray(colours)
    opaque.putalpha(255)
    assert np.array_equal(np.asarray(to_rgb(opaque)), colours)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_eight_orientations_are_applied_once(kind: str, orientation: int) -> None:
    corners = np.zeros((32, 48, 3), dtype=np.uint8)
    corners[:16, :24] = 255  # bright where the file begins
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = np.asarray(to_rgb(stored(Image.fromarray(corners), kind, exif=exif)))
    assert upright.shape[:2] == ((32, 48) if orientation < 5 else (48, 32))
    bright = {1: "tl", 2: "tr", 3: "br", 4: "bl", 5: "tl", 6: "tr", 7: "br", 8: "bl"}[orientation]
    row = 0 if bright[0] == "t" else -1
    column = 0 if bright[1] == "l" else -1
    assert upright[row, column].min() > 200
    assert upright[-1 - row, -1 - column].max() < 50


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_data_count_as_none() -> None:
    image = stored(Image.new("RGB", (4, 4), "red"), "JPEG", exif=b"Exif\0\0MM\0*\0\0\xff\xff1")
    assert to_rgb(image).size == (4, 4)


@pytest.mark.parametrize(
    "image",
    [
        stored(Image.fromarray(GREYS), "PNG"),
        stored(Image.fromarray(GREYS), "TIFF"),
        Image.frombytes("I;16B", (8, 8), GREYS.astype(">u2").tobytes()),
        Image.open(io.BytesIO(b"P5 8 8 65535\n" + GREYS.astype(">u2").tobytes())),
        declared(281, 65535, GREYS.astype(np.int32)),
        declared(341, 65535 * 32768, GREYS.astype(np.int32) * 32768),
        declared(281, 65535 // 257, (GREYS // 257).astype(np.int32)),
    ],
    ids=["png", "tiff", "big-endian", "pgm", "32-bit", "32-bit-wide", "32-bit-narrow"],
)
def test_greys_of_many_bits_keep_their_steps(image: Image.Image) -> None:
    pixels = np.asarray(to_rgb(image))[..., 0].astype(int)
    assert np.abs(pixels - GREYS / 257).max() <= 1


def tiff_of_12_bits(values: list[int]) -> bytes:
    """One row of greys, which Pillow reads and cannot write."""
    bits = "".join(f"{value:012b}" for value in values)
    data = int(bits, 2).to_bytes(len(bits) // 8, "big")
    sizes = {256: len(values), 257: 1, 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: 1}
    tags = {**sizes, 279: len(data)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory


def test_greys_of_12_bits_reach_from_black_to_white() -> None:
    image = Image.open(io.BytesIO(tiff_of_12_bits([0, 1024, 2048, 4095])))
    assert np.asarray(to_rgb(image))[0, :, 0].tolist() == [0, 64, 128, 255]


@pytest.mark.parametrize(
    "values",
    [GREYS.astype(np.int32), GREYS.astype(np.float32), GREYS.astype(np.int32) * 30000],
    ids=["integers", "floats", "large integers"],
)
def test_pixels_of_unknown_range_are_refused_rather_than_guessed(values: np.ndarray) -> None:
    with pytest.raises(ValueError, match="^unknown range"):
        to_rgb(stored(Image.fromarray(values), "TIFF"))


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "LAB", "HSV", "RGBX", "La", "RGBa", "1", "PA"])
def test_every_other_mode_becomes_rgb(mode: str) -> None:
    assert to_rgb(Image.new(mode, (4, 4))).mode == "RGB"


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP", "PNG"])
def test_of_several_frames_the_first_is_read(kind: str) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("white", "black")]
    image = stored(frames[0], kind, save_all=True, append_images=frames[1:])
    assert np.asarray(to_rgb(image)).min() > 250


def test_the_cards_python_gives_what_the_model_was_taught(tmp_path: Any) -> None:
    names: dict[str, Any] = {}
    exec(reading_code(8), names)
    noise = np.random.default_rng(1).integers(0, 256, (20, 30, 4), dtype=np.uint8)
    path = tmp_path / "image.png"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise).save(path, exif=exif)
    with Image.open(path) as image:
        taught = normalise(to_tensor(to_rgb(image), 8)[None], "cpu")  # type: ignore[arg-type]
    assert np.allclose(names["read_image"](path), taught.numpy(), atol=1e-5)


def test_the_rules_stand_in_the_preprocessing_for_programs() -> None:
    said = json.loads(json.dumps(PREPROCESSING))["reading"]
    assert said == READING
    assert said["transparency_ground"] == list(GROUND)
    assert (said["orientation"], said["floating_point"], said["frame"]) == ("applied", "refused", 0)


def test_a_square_of_the_right_side_is_left_as_it_is() -> None:
    image = Image.new("RGB", (8, 8))
    assert square(image, 8) is image

"""scikit-learn's digits: 1,797 grey 8×8 images of ten classes, the data set that pip brings."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from search.data._splits import ImagesInMemory, Splits, fingerprint_of, stratified, to_tensor
from search.data.pixels import to_rgb

NATIVE_SIZE = 32  # the data set's size here: 8×8 enlarged fourfold, bilinear
_BILINEAR = Image.Resampling.BILINEAR
_TEST_SHARE = 0.2
_VALIDATION_SHARE = 0.25  # of what the test split leaves


def load_digits(image_size: int) -> Splits:
    """60 % train, 20 % validation, 20 % test, each class alike; grey repeated in three channels."""
    import sklearn.datasets  # takes seconds, and only this data set needs it

    digits = sklearn.datasets.load_digits()
    pixels = np.round(digits.images * (255 / 16)).astype(np.uint8)
    native = (NATIVE_SIZE, NATIVE_SIZE)
    images = torch.stack(
        [
            to_tensor(to_rgb(Image.fromarray(grey).resize(native, _BILINEAR)), image_size)
            for grey in pixels
        ]
    )
    labels = torch.from_numpy(digits.target).long()
    rest, test = stratified(labels.tolist(), _TEST_SHARE)
    train, validation = stratified(labels[rest].tolist(), _VALIDATION_SHARE)
    members = ([rest[index] for index in train], [rest[index] for index in validation], test)
    train_set, selecting, reported = (ImagesInMemory(images[own], labels[own]) for own in members)
    return Splits(
        "digits",
        train_set,
        selecting,
        reported,
        class_names=tuple(str(name) for name in digits.target_names),
        image_size=image_size,
        mirror=False,
        fingerprint=fingerprint_of([pixels.tobytes(), digits.target.tobytes()]),
    )

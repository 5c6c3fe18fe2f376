"""Other views of the same images, on tensors and from a generator, so that a seed repeats them."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from search.training.config import Augmentation
from search.training.preprocessing import PREPROCESSING

_CROP_ASPECT = 4 / 3  # width over height, and its inverse, at most
_ERASED_AREA = (0.02, 1 / 3)  # of the image; as timm's RandomErasing
_ERASED_ASPECT = 10 / 3


def augment(
    images: Tensor, config: Augmentation, *, mirror: bool, generator: torch.Generator
) -> Tensor:
    """(N, 3, S, S) images of 0..255 as float32, each changed by itself as `config` says.

    `mirror` says whether a mirrored image keeps its label, which `mirror: auto` asks.
    """
    images = images.float()
    if config.smallest_crop < 1:
        images = _cropped(images, config.smallest_crop, generator)
    if config.shift > 0:
        images = _shifted(images, int(images.shape[-1] * config.shift), generator)
    if config.mirror == "always" or (config.mirror == "auto" and mirror):
        images = _mirrored(images, generator)
    if config.color > 0:
        images = _coloured(images, config.color, generator)
    if config.erase > 0:
        images = _erased(images, config.erase, generator)
    return images


def _cropped(images: Tensor, smallest: float, generator: torch.Generator) -> Tensor:
    """A part of each image, of `smallest` to all of its area, scaled to the whole (bilinear)."""
    area = _uniform(len(images), smallest, 1, generator)
    aspect = _aspect(len(images), _CROP_ASPECT, generator)
    width = (area * aspect).sqrt().clamp(max=1)
    height = (area / aspect).sqrt().clamp(max=1)
    x, y = (_uniform(len(images), -1, 1, generator) * (1 - side) for side in (width, height))
    zero = torch.zeros_like(width)
    windows = torch.stack([width, zero, x, zero, height, y], dim=1).view(-1, 2, 3)
    grid = F.affine_grid(windows, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _shifted(images: Tensor, reach: int, generator: torch.Generator) -> Tensor:
    """Each image moved by up to `reach` pixels each way; its edge is repeated."""
    side = images.shape[-1]
    padded = F.pad(images, (reach,) * 4, mode="replicate")
    shifts = torch.randint(0, 2 * reach + 1, (len(images), 2), generator=generator)
    windows = [
        image[:, top : top + side, left : left + side]
        for image, (top, left) in zip(padded, shifts.tolist(), strict=True)
    ]
    return torch.stack(windows)


def _mirrored(images: Tensor, generator: torch.Generator) -> Tensor:
    chosen = torch.rand(len(images), generator=generator) < 0.5
    return torch.where(chosen.view(-1, 1, 1, 1), images.flip(-1), images)


def _coloured(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Brightness, contrast and saturation of each image times 1 - strength to 1 + strength."""
    brightness, contrast, saturation = (
        _uniform(len(images), 1 - strength, 1 + strength, generator).view(-1, 1, 1, 1)
        for _ in range(3)
    )
    images = images * brightness
    middle = images.mean((1, 2, 3), keepdim=True)
    images = middle + (images - middle) * contrast
    grey = images.mean(1, keepdim=True)
    return (grey + (images - grey) * saturation).clamp(0, 255)


def _erased(images: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """A rectangle of the data's mean in that share of the images."""
    count, side = len(images), images.shape[-1]
    chosen = torch.rand(count, generator=generator) < probability
    area = _uniform(count, *_ERASED_AREA, generator)
    aspect = _aspect(count, _ERASED_ASPECT, generator)
    inside = chosen.view(-1, 1, 1)
    for share, axis in (((area * aspect).sqrt(), 1), ((area / aspect).sqrt(), 2)):
        length = (share * side).round().clamp(1, side)
        start = (_uniform(count, 0, 1, generator) * (side - length + 1)).floor()
        place = torch.arange(side).view(1, -1)
        along = (place >= start.view(-1, 1)) & (place < (start + length).view(-1, 1))
        inside = inside & along.unsqueeze(3 - axis)
    mean = torch.tensor(PREPROCESSING["mean"]).view(1, 3, 1, 1) * 255
    return torch.where(inside.unsqueeze(1), mean, images)


def _uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=generator)


def _aspect(count: int, most: float, generator: torch.Generator) -> Tensor:
    """Ratios of 1 / most to most, even in their logarithm."""
    return _uniform(count, -math.log(most), math.log(most), generator).exp()

"""Images on their way to a model: batches that are read ahead, normalised, in its precision."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext

import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn

from search.data import ImageSet
from search.data.pixels import READING
from search.throughput.workload import in_memory_format

PREPROCESSING = {
    "mean": list(IMAGENET_DEFAULT_MEAN),
    "std": list(IMAGENET_DEFAULT_STD),
    "interpolation": "bilinear",
    "resize": "shorter side, then the centre",
    "reading": READING,
}
_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


def batches(
    images: ImageSet, order: Sequence[int], batch_size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of uint8 images and labels in `order`; the next one is read meanwhile."""
    starts = range(0, len(order), batch_size)
    with ThreadPoolExecutor(1) as reader:
        pending: Future[tuple[Tensor, Tensor]] | None = None
        for start in starts:
            upcoming = reader.submit(images.fetch, order[start : start + batch_size])
            if pending is not None:
                yield pending.result()
            pending = upcoming
        if pending is not None:
            yield pending.result()


def normalise(images: Tensor, device: torch.device) -> Tensor:
    """Images of 0..255 as float32 on `device`, channels_last, less the mean over the deviation."""
    mean = torch.tensor(PREPROCESSING["mean"], device=device).view(1, 3, 1, 1)
    std = torch.tensor(PREPROCESSING["std"], device=device).view(1, 3, 1, 1)
    images = images.to(device, torch.float32, non_blocking=True) / 255
    return ((images - mean) / std).contiguous(memory_format=torch.channels_last)


def place(model: nn.Module, device: torch.device) -> nn.Module:
    """The model on `device`, its convolutions' weights in channels_last."""
    return in_memory_format(model.to(device=device), torch.channels_last)


def autocast(precision: str, device: torch.device) -> nullcontext[None] | torch.autocast:
    """Return the context for a forward pass in that precision; fp32 needs none."""
    dtype = _AUTOCAST.get(precision)
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype=dtype)

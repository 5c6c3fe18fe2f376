"""A short training that ranks candidates, and the score of a trained model.

AdamW without decay on biases and norms, a linear warm-up and a cosine decay over steps, label
smoothing, shifted and (where labels allow it) mirrored images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.optim import create_optimizer_v2
from torch import Tensor, nn
from torch.nn import functional as F

from search.data import ImageSet, Splits
from search.study_config import TrainConfig

PREPROCESSING = {
    "mean": list(IMAGENET_DEFAULT_MEAN),
    "std": list(IMAGENET_DEFAULT_STD),
    "interpolation": "bilinear",
    "resize": "shorter side, then the centre",
}
_WARM_UP_SHARE = 0.1
_SHIFT_SHARE = 1 / 8
_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Diverged(RuntimeError):
    """The loss left the finite numbers."""


@dataclass(frozen=True, slots=True)
class Score:
    """How good a trained model is on one split: accuracy in 0..1."""

    metric: str
    value: float
    epochs: int
    split: str


def train_and_score(
    model: nn.Module,
    data: Splits,
    config: TrainConfig,
    *,
    device: torch.device,
    seed: int,
    on_epoch: Callable[[int, float], None] | None = None,
    check: Callable[[], None] | None = None,
) -> Score:
    """Trains `model` in place and scores it on the validation split.

    The same seed on the same CPU gives the same weights. `on_epoch` hears the epoch and its
    mean loss; `check` is called before each batch and may raise to stop. Diverged where the loss
    is no number.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = _place(model, device)
    optimizer = create_optimizer_v2(
        model, opt="adamw", lr=config.learning_rate, weight_decay=config.weight_decay
    )
    scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "fp16")
    steps = config.epochs * math.ceil(len(data.train) / config.batch_size)
    step = 0
    for epoch in range(config.epochs):
        model.train()
        order = torch.randperm(len(data.train), generator=generator).tolist()
        losses: list[float] = []
        for images, labels in batches(data.train, order, config.batch_size):
            if check is not None:
                check()
            if len(labels) < 2:  # BatchNorm needs two
                continue
            _set_learning_rate(optimizer, config.learning_rate, step / steps)
            step += 1
            images = augment(images, mirror=data.mirror, generator=generator)
            with _autocast(config.precision, device):
                logits = model(normalise(images, device))
                loss = F.cross_entropy(
                    logits, labels.to(device), label_smoothing=config.label_smoothing
                )
            losses.append(loss.item())
            if not math.isfinite(losses[-1]):
                raise Diverged(f"the loss became {losses[-1]} in epoch {epoch + 1}, step {step}")
            optimizer.zero_grad(set_to_none=True)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
        if on_epoch is not None:
            on_epoch(epoch + 1, sum(losses) / max(1, len(losses)))
    value = accuracy(model, data.validation, config, device=device, check=check)
    return Score("accuracy", value, config.epochs, "validation")


def accuracy(
    model: nn.Module,
    images: ImageSet,
    config: TrainConfig,
    *,
    device: torch.device,
    check: Callable[[], None] | None = None,
) -> float:
    """Share of `images` that `model` classifies correctly, 0..1.

    Diverged where the model answers with numbers that are not finite.
    """
    model = _place(model, device).eval()
    correct = total = 0
    for batch, labels in batches(images, range(len(images)), config.batch_size):
        if check is not None:
            check()
        with torch.inference_mode(), _autocast(config.precision, device):
            logits = model(normalise(batch, device)).cpu()
        if not torch.isfinite(logits).all():
            raise Diverged("the trained model answers with numbers that are not finite")
        predicted = logits.argmax(dim=1)
        correct += int((predicted == labels).sum())
        total += len(labels)
    return correct / max(1, total)


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


def augment(images: Tensor, *, mirror: bool, generator: torch.Generator) -> Tensor:
    """(N, 3, S, S) images shifted by up to an eighth of their side; half of them mirrored."""
    side = images.shape[-1]
    reach = int(side * _SHIFT_SHARE)
    padded = F.pad(images.float(), (reach,) * 4, mode="replicate")
    shifts = torch.randint(0, 2 * reach + 1, (len(images), 2), generator=generator)
    windows = [
        image[:, top : top + side, left : left + side]
        for image, (top, left) in zip(padded, shifts.tolist(), strict=True)
    ]
    shifted = torch.stack(windows)
    if mirror:
        chosen = torch.rand(len(images), generator=generator) < 0.5
        shifted[chosen] = shifted[chosen].flip(-1)
    return shifted


def normalise(images: Tensor, device: torch.device) -> Tensor:
    """Images of 0..255 as float32 on `device`, channels_last, less the mean over the deviation."""
    mean = torch.tensor(PREPROCESSING["mean"], device=device).view(1, 3, 1, 1)
    std = torch.tensor(PREPROCESSING["std"], device=device).view(1, 3, 1, 1)
    images = images.to(device, torch.float32, non_blocking=True) / 255
    return ((images - mean) / std).contiguous(memory_format=torch.channels_last)


def _place(model: nn.Module, device: torch.device) -> nn.Module:
    return model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def _autocast(precision: str, device: torch.device) -> nullcontext[None] | torch.autocast:
    dtype = _AUTOCAST.get(precision)
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype=dtype)


def _set_learning_rate(optimizer: torch.optim.Optimizer, peak: float, progress: float) -> None:
    """`progress` from 0 to 1 over the whole training."""
    if progress < _WARM_UP_SHARE:
        rate = peak * (progress + 1e-3) / _WARM_UP_SHARE
    else:
        decayed = (progress - _WARM_UP_SHARE) / (1 - _WARM_UP_SHARE)
        rate = peak * 0.5 * (1 + math.cos(math.pi * decayed))
    for group in optimizer.param_groups:
        group["lr"] = rate

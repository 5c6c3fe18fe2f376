"""One training as the search asks for it: by the project's recipe or a user's, and its score."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

import metaformer.blocks
from mixers.third_party_code import described, is_interrupt
from search.data import Splits
from search.devices import is_out_of_memory
from search.errors import EnvironmentProblem, Interrupted, UsageError
from search.training import _recipe as recipe
from search.training._checkpoint import identity_of
from search.training._context import Trainer, TrainingContext
from search.training._trainers import TrainerEntry, TrainerError
from search.training.config import TrainConfig
from search.training.preprocessing import place
from search.training.scoring import Diverged, Score, accuracy

_NOT_THE_TRAINERS = (Diverged, Interrupted, UsageError, EnvironmentProblem)


def train_and_score(
    model: nn.Module,
    data: Splits,
    config: TrainConfig,
    *,
    device: torch.device,
    seed: int,
    on_epoch: Callable[[int, float], None] | None = None,
    check: Callable[[], None] | None = None,
    note: Callable[[str], None] | None = None,
    checkpoint: Path | None = None,
    epochs: int | None = None,
    trainer: TrainerEntry | None = None,
) -> Score:
    """Trains `model` in place and scores it on the validation split, after each epoch.

    With `checkpoint` the whole state is kept in that file after each epoch, and a training that
    finds the file continues from it. `epochs` ends the training after so many of `config.epochs`,
    on the schedule of all of them. `trainer` takes the place of the project's own recipe.

    `on_epoch` hears the epoch and its mean loss, `note` of a checkpoint that could not be written;
    `check` is called before each batch and may raise to stop. Diverged if loss or answers are no
    numbers; CheckpointProblem if the file is damaged, of another training or further than
    `epochs`; TrainerError if `trainer` raises, or leaves epochs out.
    """
    last = config.epochs if epochs is None else epochs
    if not 1 <= last <= config.epochs:
        raise ValueError(f"epochs: got {last}; allowed: 1 to {config.epochs}")
    model = place(model, device)
    origin = None if trainer is None else trainer.fingerprint()
    context = TrainingContext(
        data=data,
        config=config,
        device=device,
        seed=seed,
        epochs=last,
        check=check or _nothing,
        on_epoch=on_epoch or _nothing,
        note=note or _nothing,
        checkpoint=checkpoint,
        identity=identity_of(model, data, config, seed, origin),
    )
    if trainer is None:
        recipe.train(model, data, config, context)
    else:
        _train_by(trainer, trainer.function, model, context)
    if trainer is None:  # it has scored these weights after its last epoch
        value = context.by_epoch[-1]
    else:
        value = accuracy(model, data.validation, config, device=device, check=check)
    return Score("accuracy", value, last, "validation", tuple(context.by_epoch), origin)


def _train_by(
    entry: TrainerEntry, train: Trainer, model: nn.Module, context: TrainingContext
) -> None:
    """Runs a user's trainer; what goes wrong in it is told with its name."""
    try:
        train(model, context.data, context.config, context)
    except _NOT_THE_TRAINERS:
        raise
    except BaseException as error:  # SystemExit of a user's code would end the worker
        if is_interrupt(error) or is_out_of_memory(error) or _is_of_a_block(error):
            raise
        raise TrainerError(f"{entry.label}: {described(error)}") from error
    if context.epochs_left():
        done = len(context.by_epoch)
        words = f"ended {done} of {context.epochs} epochs with context.end_epoch"
        raise TrainerError(f"{entry.label} {words}")


def _is_of_a_block(error: BaseException) -> bool:
    """Return whether it was raised in a block of the backbone, by a mixer as a rule, that the
    trainer only called."""
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    return any(frame.f_globals.get("__name__") == metaformer.blocks.__name__ for frame in frames)


def _nothing(*_said: object) -> None:
    """Nobody listens."""

"""A short training that ranks candidates, the score of a trained model, and trainings of others.

`train_and_score` is the project's own recipe, `Trainer` the interface of a user's. Names are
imported when they are first used: the settings in `search.config.study` ask for the optimizers.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from search.training.accuracy import Diverged, Score, accuracy
    from search.training.augmentation import augment
    from search.training.checkpoint import CheckpointProblem, forget_state
    from search.training.context import Trainer, TrainingContext
    from search.training.preprocessing import PREPROCESSING, batches, normalise
    from search.training.time_estimate import seconds_of_training
    from search.training.train import train_and_score
    from search.training.trainers import TrainerEntry, TrainerError, find_trainer

_HOMES = {
    "CheckpointProblem": "checkpoint",
    "Diverged": "accuracy",
    "PREPROCESSING": "preprocessing",
    "Score": "accuracy",
    "Trainer": "context",
    "TrainerEntry": "trainers",
    "TrainerError": "trainers",
    "TrainingContext": "context",
    "accuracy": "accuracy",
    "augment": "augmentation",
    "batches": "preprocessing",
    "find_trainer": "trainers",
    "forget_state": "checkpoint",
    "normalise": "preprocessing",
    "seconds_of_training": "time_estimate",
    "train_and_score": "train",
}

__all__ = [
    "PREPROCESSING",
    "CheckpointProblem",
    "Diverged",
    "Score",
    "Trainer",
    "TrainerEntry",
    "TrainerError",
    "TrainingContext",
    "accuracy",
    "augment",
    "batches",
    "find_trainer",
    "forget_state",
    "normalise",
    "seconds_of_training",
    "train_and_score",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

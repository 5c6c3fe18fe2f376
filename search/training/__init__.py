"""A short training that ranks candidates, the score of a trained model, and trainings of others.

`train_and_score` is the project's own recipe, `Trainer` the interface of a user's. Names are
imported when they are first used: the settings in `search.config.study` ask for the optimizers.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from search.training._augmentation import augment
    from search.training._checkpoint import CheckpointProblem, forget_state
    from search.training._context import Trainer, TrainingContext
    from search.training._time_estimate import seconds_of_training
    from search.training._train import train_and_score
    from search.training._trainers import TrainerEntry, TrainerError, find_trainer
    from search.training.preprocessing import PREPROCESSING, batches, normalise
    from search.training.scoring import Diverged, Score, accuracy

_HOMES = {
    "CheckpointProblem": "_checkpoint",
    "Diverged": "scoring",
    "PREPROCESSING": "preprocessing",
    "Score": "scoring",
    "Trainer": "_context",
    "TrainerEntry": "_trainers",
    "TrainerError": "_trainers",
    "TrainingContext": "_context",
    "accuracy": "scoring",
    "augment": "_augmentation",
    "batches": "preprocessing",
    "find_trainer": "_trainers",
    "forget_state": "_checkpoint",
    "normalise": "preprocessing",
    "seconds_of_training": "_time_estimate",
    "train_and_score": "_train",
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

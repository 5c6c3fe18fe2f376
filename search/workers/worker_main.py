"""`python -m search.workers.worker_main`: evaluates networks for one study, one after the other.

Started by the study's own process, which sends candidates and baselines; ends with it.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from metaformer.spec import BackboneSpec
from mixers import InputError, PluginError, SignatureError, load_registry
from search.config.load import load_study
from search.data import load_data
from search.device_lease.lock_files import Holder
from search.errors import EnvironmentProblem, Interrupted, UsageError
from search.evaluation.evaluator import CandidateEvaluator
from search.hardware.process_tree import ancestors
from search.storage.records import BaselineRecord, TrialRecord
from search.storage.run_folder import RunFolder
from search.training import find_trainer
from search.workers._messages import Receiver, Sender
from search.workers._parent_watchdog import end_with
from search.workers.run_task import attempt

LISTENING_SECONDS = 1.0
_RAISED_AGAIN = {"UsageError": UsageError, "EnvironmentProblem": EnvironmentProblem}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("study", type=Path, help="The run folder's study.yaml.")
    parser.add_argument("--device", type=torch.device, required=True)
    parser.add_argument("--plugins")
    parser.add_argument("--consent", help="Digest of the local code that may run; '' for none.")
    parser.add_argument("--tasks", type=int, required=True, help="The pipe to read from.")
    parser.add_argument("--answers", type=int, required=True, help="The pipe to write to.")
    arguments = parser.parse_args()
    end_with(os.getppid())
    worker = Worker(
        arguments.study,
        arguments.device,
        arguments.plugins,
        arguments.consent,
        Sender(arguments.answers),
    )
    try:
        worker.prepare()
        worker.serve(Receiver(arguments.tasks))
    except (BrokenPipeError, Abandoned):  # the study's process is gone
        sys.exit(1)


class Abandoned(BaseException):
    """The parent process has exited; abort."""


class Worker:
    """Answers each task with what came of it, and says meanwhile what it does."""

    def __init__(
        self,
        study: Path,
        device: torch.device,
        plugins: str | None,
        consent: str | None,
        answers: Sender,
    ) -> None:
        self._study, self._device, self._answers = study, device, answers
        self._plugins, self._consent = plugins, consent
        self._parent = os.getppid()
        self._asked_to_stop = False
        signal.signal(signal.SIGTERM, self._stop)

    def _stop(self, _number: int, _frame: Any) -> None:
        self._asked_to_stop = True

    def _check(self) -> None:
        if os.getppid() != self._parent:
            raise Abandoned
        if self._asked_to_stop:
            raise Interrupted

    def _is_colleague(self, holder: Holder) -> bool:
        """Return whether that process is another worker of this study."""
        return ancestors(holder.pid)[:1] == [self._parent]

    def prepare(self) -> None:
        """Loads what all candidates need; says `ready`, or what is wrong."""
        try:
            study = load_study(self._study, {}, device=str(self._device))
            config = study.config
            registry = load_registry(self._plugins, consent=self._consent)
            registry = registry.settled(mixer["name"] for mixer in study.frozen_mixers)
            if self._device.type == "cuda":
                torch.cuda.set_device(self._device)  # what names none, as kernels may, means it
            else:
                torch.set_num_threads(config.measure.threads)
            folder = RunFolder(self._study.parent)
            name = config.train.trainer
            self._evaluator = CandidateEvaluator(
                config=config,
                registry=registry,
                data=load_data(config.train.data, config.train.image_size),
                device=self._device,
                phase=lambda text: self._answers.send({"phase": text}),
                note=lambda text: self._answers.send({"note": text}),
                check=self._check,
                trainer=None if name is None else find_trainer(name, registry.rules),
                checkpoints=folder.checkpoints,
                weights=folder.inheritable,
                best=folder.best_weights,
                known=self._is_colleague,
            )
        except Exception as error:  # noqa: BLE001  # whatever it is, the study's process says it
            self._answers.send(error_message(error))
            sys.exit(1)
        self._answers.send({"ready": True})

    def serve(self, tasks: Receiver) -> None:
        """Answers tasks until nobody asks any more."""
        while True:
            try:
                task = tasks.receive(LISTENING_SECONDS)
            except EOFError:
                return
            if task is not None:
                self._answers.send(*self._answer(task[0]))
                self._asked_to_stop = False
            elif os.getppid() != self._parent:
                return

    def _answer(self, task: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        """The record of a task, and the weights as a safetensors file's bytes."""
        kind = BaselineRecord if task["do"] == "evaluate_baseline" else TrialRecord
        record = kind.from_data(task["record"])
        spec = None if task["spec"] is None else BackboneSpec.model_validate(task["spec"])
        try:
            weights, trace = attempt(
                getattr(self._evaluator, task["do"]), spec, record, self._evaluator.registry
            )
        except (UsageError, EnvironmentProblem) as error:
            return error_message(error), b""
        own = {key: value.clone().contiguous() for key, value in (weights or {}).items()}
        return {"record": record.to_data(), "traceback": trace}, save(own) if own else b""


def error_message(error: Exception) -> dict[str, Any]:
    """Return the message of an exception for the study's process."""
    if isinstance(error, EnvironmentProblem | PluginError | SignatureError):
        kind = EnvironmentProblem.__name__
    elif isinstance(error, InputError):
        kind = UsageError.__name__
    else:
        kind = type(error).__name__
    trace = "".join(traceback.format_exception(error))
    return {"error": kind, "words": str(error), "traceback": trace}


def raise_again(message: dict[str, Any]) -> None:
    """Raise, in the study's process, an error of the worker that no candidate caused."""
    kind = _RAISED_AGAIN.get(message["error"])
    if kind is not None:
        raise kind(message["words"])
    raise EnvironmentProblem(f"a worker could not continue:\n{message['traceback']}")


if __name__ == "__main__":
    main()

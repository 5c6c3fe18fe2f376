"""The trial that is exported, with its weights: those on file, or trained again."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from metaformer.backbone import Backbone, build_backbone
from metaformer.spec import BackboneSpec
from metaformer.spec_yaml import dump_spec
from search.devices import is_out_of_memory
from search.errors import EnvironmentProblem, UsageError
from search.evaluation.device_requirements import require_device_for
from search.evaluation.evaluator import CandidateEvaluator
from search.storage.record_reader import require_exportable
from search.storage.records import TrialRecord, TrialState
from search.study.status import read_summary
from search.study.stored_study import PastStudy
from search.training import PREPROCESSING


@dataclass(frozen=True)
class Chosen:
    """A complete trial and its weights.

    `accuracy` is that of these weights on the validation split, 0..1; `test_accuracy` None if
    none was reported of them. `retrained` says that the weights are not the study's own.
    """

    past: PastStudy
    record: TrialRecord
    spec: BackboneSpec
    weights: dict[str, Tensor]
    accuracy: float
    test_accuracy: float | None
    retrained: bool

    @property
    def class_names(self) -> list[str]:
        return [str(name) for name in (self.past.study.frozen_data or {}).get("classes", [])]

    @property
    def preprocessing(self) -> dict[str, Any]:
        """Preprocessing of an image, and the names of the model's outputs."""
        size = self.past.study.config.train.image_size
        return {"image_size": size, **PREPROCESSING, "class_names": self.class_names}

    def model(self) -> Backbone:
        """The trained backbone on the CPU, in eval mode; EnvironmentProblem if a mixer requires
        another device."""
        require_device_for(self.spec, self.past.registry, torch.device("cpu"))
        model = build_backbone(self.spec, self.past.registry, device="cpu")
        model.load_state_dict(self.weights)
        return model.eval()

    def write_parts(self, place: Path, *, weights: bool) -> None:
        """backbone.yaml and preprocessing.json, and model.safetensors if asked for."""
        (place / "backbone.yaml").write_text(dump_spec(self.spec), encoding="utf-8")
        text = json.dumps(self.preprocessing, indent=2, ensure_ascii=False) + "\n"
        (place / "preprocessing.json").write_text(text, encoding="utf-8")
        if weights:
            own = {key: value.clone().contiguous() for key, value in self.weights.items()}
            metadata = {"format": "pt", "digest": self.spec.digest}
            # written by us: what safetensors raises on a full disk is no OSError
            (place / "model.safetensors").write_bytes(save(own, metadata=metadata))


def choose(
    past: PastStudy,
    record: TrialRecord,
    *,
    retrain: bool,
    allow_drift: bool,
    note: Callable[[str], None],
) -> Chosen:
    """A complete trial with its weights.

    UsageError if these are not on file and `retrain` does not allow to train it again;
    EnvironmentProblem if its mixers or its device are not what they were.
    """
    spec, drift = past.spec_of(record, allow_drift=allow_drift)
    for line in drift:
        note(f"changed since the study began: {line}")
    weights = past.folder.weights_of(spec.digest)
    if weights is None and not retrain:
        spent = record.seconds.get("train")
        took = f", which took {spent:.0f} s" if spent is not None else ""
        raise UsageError(
            f"trial {record.number}: its weights are not in {past.folder.path}, which keeps those "
            f"of the best, and of all trained candidates where they inherit; --retrain trains it "
            f"again{took}"
        )
    if weights is not None:
        accuracy, test = record.accuracy, _test_accuracy(past, record)
        return Chosen(past, record, spec, weights, accuracy or 0.0, test, retrained=False)
    note(f"training trial {record.number} again")
    evaluator = past.evaluator(note, allow_drift=allow_drift)
    weights, accuracy = _train(evaluator, record, spec, note)
    return Chosen(past, record, spec, weights, accuracy, None, retrained=True)


def record_to_export(past: PastStudy, number: int | None) -> TrialRecord:
    """Trial `number`, or the best; UsageError if there is none, or it is not complete."""
    return require_exportable(past.folder.path, past.records, number)


def _train(
    evaluator: CandidateEvaluator,
    record: TrialRecord,
    spec: BackboneSpec,
    note: Callable[[str], None],
) -> tuple[dict[str, Tensor], float]:
    """Weights and validation accuracy of a training from the beginning."""
    state = TrialState.FAILED
    again = TrialRecord(number=record.number, state=state, inherited=record.inherited)
    try:
        weights = evaluator.train(spec, again)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        words = str(error).partition("\n")[0]
        raise EnvironmentProblem(f"trial {record.number}: {words}") from None
    accuracy = again.accuracy
    if weights is None or accuracy is None:
        raise EnvironmentProblem(f"trial {record.number}: trained again it {again.reason}")
    if accuracy != record.accuracy:
        note(f"trained again it has accuracy {accuracy:.4f}, on record {record.accuracy:.4f}")
    return weights, accuracy


def _test_accuracy(past: PastStudy, record: TrialRecord) -> float | None:
    """As the study reported it, if this is the trial that it reported."""
    best = read_summary(past.folder.path).get("best") or {}
    told = best.get("trial") == record.number and best.get("digest") == record.digest
    return best.get("test_accuracy") if told else None


def random_images(spec: BackboneSpec, batch_size: int, seed: int) -> Tensor:
    """(batch_size, in_channels, S, S) from a normal distribution, as normalised images are."""
    generator = torch.Generator().manual_seed(seed)
    shape = (batch_size, spec.in_channels, spec.image_size, spec.image_size)
    return torch.randn(shape, generator=generator)

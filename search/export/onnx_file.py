"""One ONNX file for batches of any size, checked against torch by onnxruntime."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from search.errors import EnvironmentProblem
from search.export._model_card import model_card
from search.export.atomic_folder import CARD
from search.export.selected_trial import Chosen, random_images

PACKAGES = ("onnx", "onnxruntime", "onnxscript")
MAX_DIFFERENCE = 1e-4  # relative to the largest logit, in fp32
CHECKED_BATCHES = (1, 5)
_INPUT, _OUTPUT = "images", "logits"
_LOADING = """\
import numpy as np
import onnxruntime

folder = "."  # where this file lies
session = onnxruntime.InferenceSession(f"{{folder}}/model.onnx")
images = np.zeros((1, {channels}, {size}, {size}), np.float32)  # any number of them
(logits,) = session.run(["logits"], {{"images": images}})
"""


@dataclass(frozen=True)
class Checked:
    """The opset of the file, and the largest relative difference to torch by batch size."""

    opset: int
    differences: dict[int, float]

    def __str__(self) -> str:
        worst = max(self.differences.values())
        batches = " and ".join(str(size) for size in self.differences)
        return (
            f"opset {self.opset}; onnxruntime and torch differ by {worst:.1e} of the largest logit "
            f"at most, on random images in batches of {batches}"
        )


def require_packages() -> None:
    """EnvironmentProblem, with the command that helps, if ONNX's packages are not installed."""
    from importlib.util import find_spec

    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        words = f"--to onnx: not installed: {', '.join(missing)}"
        raise EnvironmentProblem(f"{words}; to install: pip install {' '.join(missing)}")


def write(chosen: Chosen, place: Path) -> list[str]:
    """Fills `place`; what to tell the user about it, in lines.

    EnvironmentProblem if packages are missing, a mixer cannot be exported, or the file's logits
    are further from torch's than MAX_DIFFERENCE.
    """
    require_packages()
    model = chosen.model().float()
    file = place / "model.onnx"
    _export(chosen, model, file)
    checked = check(file, model, [random_images(chosen.spec, n, n) for n in CHECKED_BATCHES])
    chosen.write_parts(place, weights=False)
    spec = chosen.spec
    loading = _LOADING.format(channels=spec.in_channels, size=spec.image_size)
    size = f"{spec.image_size}×{spec.image_size}"
    notes = [f"ONNX: {checked}", f"the ONNX file takes any number of images, all of {size} pixels"]
    card = model_card(chosen, loading, notes=notes, library="onnx")
    (place / CARD).write_text(card, encoding="utf-8")
    return [str(checked)]


def _export(chosen: Chosen, model: nn.Module, file: Path) -> None:
    images = random_images(chosen.spec, 2, 0)
    try:
        export_module(model, images, file)
    except Exception as error:  # noqa: BLE001  # whatever a mixer's code or the exporter raises
        words = str(error).strip().partition("\n")[0]
        guilty = _not_exportable(chosen, model, images, file)
        who = f"the mixer {', '.join(guilty)}" if guilty else "the backbone"
        raise EnvironmentProblem(
            f"trial {chosen.record.number}: {who} cannot be exported to ONNX: "
            f"{type(error).__name__}: {words}"
        ) from None


def export_module(module: nn.Module, images: Tensor, file: Path) -> None:
    """Writes `module` as ONNX, the first side of its input free."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        program = torch.onnx.export(
            module,
            (images,),
            dynamo=True,
            input_names=[_INPUT],
            output_names=[_OUTPUT],
            dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
            verbose=False,
        )
    assert program is not None
    program.save(str(file))


def _not_exportable(chosen: Chosen, model: nn.Module, images: Tensor, file: Path) -> list[str]:
    """The mixers that cannot be exported on their own, by name."""
    inputs: dict[str, Tensor] = {}
    mixers: dict[str, tuple[str, nn.Module]] = {}
    for index, stage in enumerate(chosen.spec.stages):
        for block, mixer in enumerate(stage.block_mixers):
            path = f"stages.{index}.blocks.{block}.mixer"
            mixers.setdefault(mixer.name, (path, model.get_submodule(path)))
    handles = [
        module.register_forward_pre_hook(
            lambda _module, given, path=path: inputs.__setitem__(path, given[0])
        )
        for path, module in mixers.values()
    ]
    try:
        with torch.no_grad():
            model(images)
    finally:
        for handle in handles:
            handle.remove()
    guilty = []
    for name, (path, module) in mixers.items():
        try:
            export_module(module, inputs[path], file)
        except Exception:  # noqa: BLE001  # as above
            guilty.append(name)
    return guilty


def check(file: Path, model: nn.Module, batches: list[Tensor]) -> Checked:
    """Holds the file against `model`; EnvironmentProblem above MAX_DIFFERENCE."""
    import onnx
    import onnxruntime

    onnx.checker.check_model(str(file))
    opsets = onnx.load(str(file), load_external_data=False).opset_import
    opset = next(entry.version for entry in opsets if entry.domain in ("", "ai.onnx"))
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    differences = {}
    for images in batches:
        (found,) = session.run([_OUTPUT], {_INPUT: images.numpy()})
        differences[len(images)] = _difference(torch.from_numpy(found), model, images)
    checked = Checked(opset, differences)
    if not max(differences.values()) <= MAX_DIFFERENCE:
        raise EnvironmentProblem(f"--to onnx: {checked}; allowed: {MAX_DIFFERENCE:g}")
    return checked


def _difference(found: Tensor, model: nn.Module, images: Tensor) -> float:
    """The largest difference over the largest logit; inf if anything is not finite."""
    with torch.inference_mode():
        expected = model(images)
    if found.shape != expected.shape:
        return float("inf")
    relative = (found - expected).abs().max() / expected.abs().max().clamp(min=1e-12)
    return float(relative.nan_to_num(nan=float("inf")))

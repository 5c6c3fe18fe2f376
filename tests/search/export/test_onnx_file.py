"""One ONNX file, held against torch by onnxruntime."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from chosen import best_of, snippet
from torch import Tensor, nn

from metaformer import BackboneSpec, build_backbone
from mixers import MixerRegistry, installed_mixers
from search.errors import EnvironmentProblem
from search.export import onnx_file as onnx
from search.export.selected_trial import Chosen, random_images


@pytest.fixture
def chosen(finished: Path, registry: MixerRegistry) -> Chosen:
    Path("exported").mkdir()
    return best_of(finished, registry)


def test_it_takes_batches_of_any_size_and_says_how_near_it_is(chosen: Chosen) -> None:
    (line,) = onnx.write(chosen, Path("exported"))
    assert line in Path("exported/README.md").read_text()
    assert line.startswith("opset ")
    session = onnxruntime.InferenceSession("exported/model.onnx")
    for batch in (1, 2, 7):
        images = random_images(chosen.spec, batch, 9)
        (found,) = session.run(None, {"images": images.numpy()})
        with torch.inference_mode():
            expected = chosen.model()(images).numpy()
        np.testing.assert_allclose(found, expected, atol=1e-5, rtol=1e-4)
    card = Path("exported/README.md").read_text()
    assert "takes any number of images, all of 8×8 pixels" in card
    code = snippet(Path("exported/README.md"))
    os.chdir("exported")
    names: dict[str, object] = {}
    exec(code, names)
    assert names["logits"].shape == (1, 10)  # type: ignore[attr-defined]


def test_a_file_that_is_not_the_model_is_refused(chosen: Chosen) -> None:
    model = chosen.model()
    file = Path("other.onnx")
    onnx.export_module(model, random_images(chosen.spec, 2, 0), file)
    batches = [random_images(chosen.spec, size, size) for size in (1, 5)]
    checked = onnx.check(file, model, batches)
    assert set(checked.differences) == {1, 5}
    assert max(checked.differences.values()) < 1e-5
    with torch.no_grad():
        next(model.parameters()).mul_(1.01)
    with pytest.raises(EnvironmentProblem, match=r"differ by .* allowed: 0.0001"):
        onnx.check(file, model, batches)


class _Unexportable(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * (2.0 if float(x.sum()) > 0 else 1.0)


def test_a_mixer_that_cannot_be_exported_is_named(
    chosen: Chosen, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = chosen.model()
    model.stages[0].blocks[0].mixer = _Unexportable()
    monkeypatch.setattr(Chosen, "model", lambda _self: model)
    name = chosen.spec.stages[0].mixer[0].name
    with pytest.raises(EnvironmentProblem) as caught:
        onnx.write(chosen, Path("exported"))
    assert f"the mixer {name} cannot be exported to ONNX: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_packages_are_named_with_the_command_that_helps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(onnx, "PACKAGES", ("onnx", "no_such_package"))
    with pytest.raises(EnvironmentProblem) as caught:
        onnx.require_packages()
    assert str(caught.value) == (
        "--to onnx: not installed: no_such_package; to install: pip install no_such_package"
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in installed_mixers().names() if "/" not in name])
def test_every_built_in_mixer_can_be_exported(name: str, registry: MixerRegistry) -> None:
    stage = {"depth": 2, "width": 16, "block": "metaformer", "mixer": name, "norm": "batch_norm"}
    spec = BackboneSpec.model_validate(
        {
            "name": "one",
            "num_classes": 10,
            "image_size": 32,
            "stem": {"kernel_size": 4, "stride": 4},
            "stages": [stage, {**stage, "downsample": {"norm": "layer_norm"}}],
        }
    )
    model = build_backbone(spec, registry).eval()
    onnx.export_module(model, random_images(spec, 2, 0), Path("one.onnx"))
    batches = [random_images(spec, size, size) for size in onnx.CHECKED_BATCHES]
    assert max(onnx.check(Path("one.onnx"), model, batches).differences.values()) < 1e-5

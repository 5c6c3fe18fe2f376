from __future__ import annotations

import pytest
import timm
import torch
from parity import PAIRS, timm_model

from metaformer import build_backbone, from_timm, load_spec, to_timm
from mixers import MixerRegistry


@pytest.mark.parametrize("name", PAIRS)
def test_there_and_back_gives_timms_state_dict_again(name: str, registry: MixerRegistry) -> None:
    theirs = timm_model(name).state_dict()
    model = build_backbone(load_spec(name, registry), registry)
    model.load_state_dict(from_timm(theirs, model))
    back = to_timm(model)
    assert back.keys() == theirs.keys()
    for key, value in theirs.items():
        assert back[key].shape == value.shape
        assert torch.equal(back[key], value), key


@pytest.mark.parametrize("name", PAIRS)
def test_timm_loads_what_we_export(name: str, registry: MixerRegistry) -> None:
    model = build_backbone(load_spec(name, registry), registry)
    theirs = timm.create_model(PAIRS[name])
    theirs.load_state_dict(to_timm(model))
    images = torch.randn(1, 3, 224, 224)
    with torch.inference_mode():
        torch.testing.assert_close(theirs.eval()(images), model.eval()(images))


def test_weights_of_another_model_are_refused_saying_what_does_not_fit(
    registry: MixerRegistry,
) -> None:
    model = build_backbone(load_spec("inceptionnext_t", registry), registry, device="meta")
    with torch.device("meta"):
        other = timm.create_model("convnext_tiny").state_dict()
        wider = timm.create_model("inception_next_small").state_dict()
        fewer_classes = timm.create_model("inception_next_tiny", num_classes=10).state_dict()
    with pytest.raises(ValueError, match=r"missing: .*mixer.horizontal.* not of this model: "):
        from_timm(other, model)
    with pytest.raises(ValueError, match=r"not of this model: stages.2.blocks.10"):
        from_timm(wider, model)
    with pytest.raises(ValueError, match=r"another shape: head.fc.bias \(10,\) for \(1000,\)"):
        from_timm(fewer_classes, model)


def test_a_hybrid_has_no_timm_counterpart_and_says_so(registry: MixerRegistry) -> None:
    model = build_backbone(load_spec("swin_t_inception", registry), registry, device="meta")
    words = "timm has no model of metaformer blocks with inception_dw, window_attention"
    with pytest.raises(ValueError, match=words):
        to_timm(model)

from __future__ import annotations

import copy
import pickle

import pytest
import torch

from metaformer import BackboneSpec, SpecError, build_backbone, load_spec, zoo_names
from metaformer.sites import map_sizes
from mixers import MixerRegistry, MixerSpec


def small(registry: MixerRegistry, **fields: object) -> BackboneSpec:
    stage = {
        "depth": 2,
        "width": 16,
        "block": "metaformer",
        "mixer": "pooling",
        "norm": "batch_norm",
    }
    second = {**stage, "width": 24, "downsample": {"norm": "layer_norm"}}
    data = {
        "name": "small",
        "num_classes": 5,
        "image_size": 32,
        "stem": {"kernel_size": 3, "stride": 2, "padding": 1, "norm": "batch_norm"},
        "stages": [stage, second],
        "head": {"norm": "layer_norm"},
    }
    return BackboneSpec.model_validate({**data, **fields})


def with_stage(spec: BackboneSpec, index: int, **update: object) -> BackboneSpec:
    stages = list(spec.stages)
    stages[index] = type(stages[index]).model_validate({**stages[index].model_dump(), **update})
    return spec.model_copy(update={"stages": tuple(stages)})


MIXERS = [
    "attention",
    "conv",
    "identity",
    "inception_dw",
    "large_kernel_dw",
    "pooling",
    "separable_conv",
    "window_attention",
]


@pytest.mark.parametrize("block", ["metanext", "metaformer", "bottleneck"])
@pytest.mark.parametrize("mixer", MIXERS)
def test_any_mixer_stands_in_any_block_and_trains(
    registry: MixerRegistry, block: str, mixer: str
) -> None:
    spec = with_stage(small(registry), 1, block=block, mixer=mixer)
    model = build_backbone(spec, registry)
    images = torch.randn(2, 3, 32, 32)
    assert model(images).shape == (2, 5)
    model(images).sum().backward()
    missing = [name for name, p in model.named_parameters() if p.grad is None]
    assert missing == []


def test_a_pattern_places_its_mixers_block_by_block(registry: MixerRegistry) -> None:
    spec = with_stage(small(registry), 1, depth=4, mixer=["pooling", "identity", "attention"])
    model = build_backbone(spec, registry)
    kinds = [type(block.mixer).__name__ for block in model.stages[1].blocks]
    assert kinds == ["Pooling", "IdentityMixing", "Attention", "Pooling"]


def test_windows_alternate_their_shift_over_the_window_blocks_of_a_pattern(
    registry: MixerRegistry,
) -> None:
    pattern = ["pooling", {"window_attention": {"window": 4}}]
    spec = with_stage(small(registry), 0, depth=8, mixer=pattern)
    blocks = build_backbone(spec, registry).stages[0].blocks
    assert [block.mixer.shift for block in blocks[1::2]] == [(0, 0), (2, 2), (0, 0), (2, 2)]


def test_each_zoo_hybrid_runs_at_two_resolutions(registry: MixerRegistry) -> None:
    for name in ("swin_t_inception", "convformer_s18_inception"):
        for image_size in (64, 96):
            model = build_backbone(load_spec(name, registry), registry, image_size=image_size)
            with torch.inference_mode():
                assert model.eval()(torch.randn(1, 3, image_size, image_size)).shape == (1, 1000)


def test_swin_with_inception_holds_both_mixers_in_one_stage(registry: MixerRegistry) -> None:
    model = build_backbone(load_spec("swin_t_inception", registry), registry, device="meta")
    for stage in model.stages:
        kinds = {type(block.mixer).__name__ for block in stage.blocks}
        assert kinds == {"InceptionDepthwise", "WindowAttention"}


@pytest.mark.parametrize("name", zoo_names())
def test_the_meta_device_gets_the_whole_model_and_allocates_nothing(
    name: str, registry: MixerRegistry
) -> None:
    model = build_backbone(load_spec(name, registry), registry, device="meta")
    assert all(p.is_meta for p in [*model.parameters(), *model.buffers()])
    assert model(torch.empty(2, 3, 224, 224, device="meta")).shape == (2, 1000)


def test_feature_info_tells_channels_and_reduction_of_each_stage(registry: MixerRegistry) -> None:
    model = build_backbone(small(registry), registry)
    features = model.stages[0](model.stem(torch.randn(1, 3, 32, 32)))
    assert model.feature_info == [
        {"num_chs": 16, "reduction": 2, "module": "stages.0"},
        {"num_chs": 24, "reduction": 4, "module": "stages.1"},
    ]
    assert features.shape == (1, 16, 16, 16)


def test_features_and_head_make_up_the_forward_pass(registry: MixerRegistry) -> None:
    model = build_backbone(small(registry), registry).eval()
    images = torch.randn(2, 3, 32, 32)
    features = model.forward_features(images)
    assert torch.equal(model.forward_head(features), model(images))
    assert model.forward_head(features, pre_logits=True).shape == (2, model.head_hidden_size)


def test_no_classes_leave_the_pooled_features(registry: MixerRegistry) -> None:
    model = build_backbone(small(registry, num_classes=0), registry)
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 24)


def test_the_spec_says_the_image_size_unless_the_caller_does(registry: MixerRegistry) -> None:
    assert build_backbone(small(registry), registry, device="meta").image_size == 32
    larger = build_backbone(small(registry), registry, image_size=64, device="meta")
    assert larger.image_size == 64


def test_drop_path_rises_over_the_blocks_and_acts_in_training_only(registry: MixerRegistry) -> None:
    model = build_backbone(small(registry, drop_path_rate=0.3), registry)
    rates = [
        getattr(block.drop_path, "drop_prob", 0.0)
        for stage in model.stages
        for block in stage.blocks
    ]
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3])
    images = torch.randn(4, 3, 32, 32)
    assert torch.equal(model.eval()(images), model(images))
    torch.manual_seed(0)
    assert not torch.equal(model.train()(images), model(images))


def test_dtype_reaches_every_weight(registry: MixerRegistry) -> None:
    model = build_backbone(small(registry), registry, dtype=torch.float64)
    assert {p.dtype for p in model.parameters()} == {torch.float64}
    assert model(torch.randn(1, 3, 32, 32, dtype=torch.float64)).dtype is torch.float64


def test_map_sizes_follow_stem_and_downsampling(registry: MixerRegistry) -> None:
    assert map_sizes(load_spec("convformer_s18", registry), 224) == [56, 28, 14, 7]
    assert map_sizes(load_spec("swin_t", registry), 100) == [25, 13, 7, 4]


def test_an_image_that_is_too_small_names_the_stage_that_would_vanish(
    registry: MixerRegistry,
) -> None:
    words = r"stages\[2\].downsample: leaves nothing of a map of 1×1.*; allowed: 32 pixels or more"
    spec = load_spec("inceptionnext_t", registry)
    with pytest.raises(SpecError, match=words):
        build_backbone(spec, registry, image_size=8)
    assert build_backbone(spec, registry, image_size=32, device="meta").image_size == 32
    with pytest.raises(SpecError, match="leaves nothing"):
        build_backbone(spec, registry, image_size=31, device="meta")


def test_a_mixer_that_does_not_fit_its_site_is_named_with_its_place(
    registry: MixerRegistry,
) -> None:
    narrow = MixerSpec.of("inception_dw", {"branch_ratio": 1 / 64})
    spec = with_stage(small(registry), 1, mixer=(narrow,))
    with pytest.raises(SpecError, match=r"stages\[1\].mixer: block 0: inception_dw: branch_ratio"):
        build_backbone(spec, registry)


def test_the_residual_scale_stands_where_the_spec_puts_it(registry: MixerRegistry) -> None:
    model = build_backbone(load_spec("convformer_s18", registry), registry, device="meta")
    scaled = [hasattr(stage.blocks[0].residual_scale1, "gamma") for stage in model.stages]
    assert scaled == [False, False, True, True]


def test_a_size_of_nothing_is_no_wish_for_the_specs_own(registry: MixerRegistry) -> None:
    with pytest.raises(SpecError, match="stem: leaves nothing of a map of 0×0"):
        build_backbone(small(registry), registry, image_size=0)


def test_a_backbone_can_be_copied_and_pickled(registry: MixerRegistry) -> None:
    model = build_backbone(load_spec("swin_t_inception", registry), registry, image_size=64).eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        expected = model(images)
        for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            assert torch.equal(twin(images), expected)

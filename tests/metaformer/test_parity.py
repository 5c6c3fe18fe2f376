"""Our backbones equal timm's with timm's weights, and tests that see it when they do not.

All parameters and buffers are random: with the initial layer scale of 1e-6, replacing every
mixer by the identity would change the logits of InceptionNeXt-T by 2e-6 only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
import timm
import torch
from parity import (
    EACH_PAIR,
    OTHER_PAIRS,
    PAIRS,
    largest_difference,
    observe,
    relative_difference,
    stages_of,
    timm_model,
)
from torch import Tensor, nn

from metaformer import Backbone, build_backbone, from_timm, load_spec
from metaformer._timm_families import family_of
from mixers import MixerRegistry

TOLERANCE = 1e-4


def our_model(zoo_name: str, registry: MixerRegistry, theirs: nn.Module) -> Backbone:
    spec = load_spec(zoo_name, registry).model_copy(update={"drop_path_rate": 0.0})
    model = build_backbone(spec, registry)
    model.load_state_dict(from_timm(theirs.state_dict(), model))
    return model.eval()


def some_images(size: int = 224) -> Tensor:
    return torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize(
    "zoo_name", [*PAIRS, *(pytest.param(name, marks=pytest.mark.slow) for name in OTHER_PAIRS)]
)
def test_logits_stage_features_and_gradients_equal_timms(
    zoo_name: str, registry: MixerRegistry
) -> None:
    theirs = timm_model(zoo_name)
    ours = our_model(zoo_name, registry, theirs)
    family = family_of(ours.spec)
    difference = largest_difference(
        observe(ours, ours.stages, some_images(ours.spec.image_size)),
        observe(theirs, stages_of(theirs), some_images(ours.spec.image_size)),
        lambda name: family.rename(name, to_timm=False),
    )
    assert max(difference.values()) < TOLERANCE, difference


@pytest.mark.parametrize("zoo_name", EACH_PAIR)
@pytest.mark.parametrize("training", [False, True])
def test_logits_equal_timms_on_channels_last_memory_and_in_training(
    zoo_name: str, training: bool, registry: MixerRegistry
) -> None:
    """The memory that trainings and measurements use takes another path through 1×1 layers."""
    theirs = timm_model(zoo_name)
    ours = our_model(zoo_name, registry, theirs)
    images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        expected = theirs.train(training)(images)
        ours = ours.train(training).to(memory_format=torch.channels_last)
        found = ours(images.to(memory_format=torch.channels_last))
    assert relative_difference(found, expected) < TOLERANCE


@pytest.mark.parametrize(("zoo_name", "height", "width"), [
    ("swin_t", 200, 200), ("inceptionnext_t", 97, 140), ("convformer_s18", 75, 75),
    ("convnext_t", 140, 97), ("caformer_s18", 75, 140), ("poolformer_s12", 97, 75),
    ("poolformerv2_s12", 75, 97), ("focalnet_t", 140, 75), ("resnet50", 97, 140),
])  # fmt: skip
def test_a_second_resolution_equals_timms_where_windows_and_strides_do_not_divide_the_map(
    zoo_name: str, height: int, width: int, registry: MixerRegistry
) -> None:
    size = {"img_size": height} if zoo_name == "swin_t" else {}
    theirs = timm_model(zoo_name, **size).eval()
    spec = load_spec(zoo_name, registry).model_copy(update={"drop_path_rate": 0.0})
    ours = build_backbone(spec, registry, image_size=height).eval()
    ours.load_state_dict(from_timm(theirs.state_dict(), ours))
    images = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(3))
    family = family_of(ours.spec)
    difference = largest_difference(
        observe(ours, ours.stages, images),
        observe(theirs, stages_of(theirs), images),
        lambda name: family.rename(name, to_timm=False),
    )
    assert max(difference.values()) < TOLERANCE, difference


@pytest.mark.parametrize("zoo_name", [*PAIRS, *OTHER_PAIRS])
def test_every_norm_has_timms_epsilon_and_bias(zoo_name: str, registry: MixerRegistry) -> None:
    """An epsilon of 1e-5 for 1e-6 changes logits by 1e-6, too little for the comparison above."""
    with torch.device("meta"):
        theirs = timm.create_model({**PAIRS, **OTHER_PAIRS}[zoo_name])
    ours = build_backbone(load_spec(zoo_name, registry), registry, device="meta")
    assert norms_of(ours) == norms_of(theirs)


def norms_of(model: nn.Module) -> Counter[tuple[int, float, bool]]:
    norms = [module for module in model.modules() if hasattr(module, "eps")]
    return Counter((norm.weight.numel(), norm.eps, norm.bias is not None) for norm in norms)


def mixers_of(model: Backbone) -> list[nn.Module]:
    return [block.mixer for stage in model.stages for block in stage.blocks]


def every_mixer_the_identity(model: Backbone) -> None:
    for stage in model.stages:
        for block in stage.blocks:
            block.mixer = nn.Identity()


def the_last_mixer_the_identity(model: Backbone) -> None:
    model.stages[-1].blocks[-1].mixer = nn.Identity()


def identity_channels_last(model: Backbone) -> None:
    """The split order of the study's slides."""
    for mixer in mixers_of(model):
        branch = mixer.split[-1]
        mixer.register_forward_pre_hook(lambda _m, x, n=3 * branch: (x[0].roll(n, 1),))
        mixer.register_forward_hook(lambda _m, _x, y, n=3 * branch: y.roll(-n, 1))


def bands_exchanged(model: Backbone) -> None:
    for mixer in mixers_of(model):
        branches = mixer.branches
        branches["horizontal"], branches["vertical"] = branches["vertical"], branches["horizontal"]


def kernel_mirrored(model: Backbone) -> None:
    for mixer in mixers_of(model):
        for convolution in mixer.modules():
            if isinstance(convolution, nn.Conv2d) and max(convolution.kernel_size) > 1:
                convolution.weight.data = convolution.weight.data.flip(-1)


def kernel_smaller(model: Backbone) -> None:
    """A kernel of 5 where 7 belongs: the outermost taps gone."""
    for mixer in mixers_of(model):
        for convolution in mixer.modules():
            if isinstance(convolution, nn.Conv2d) and convolution.kernel_size == (7, 7):
                convolution.weight.data[..., [0, 6], :] = 0
                convolution.weight.data[..., [0, 6]] = 0


def no_shift(model: Backbone) -> None:
    for mixer in mixers_of(model):
        mixer.shift = (0, 0)


def no_mask(model: Backbone) -> None:
    for mixer in mixers_of(model):
        if mixer.mask is not None:
            mixer.mask.zero_()


def no_position_bias(model: Backbone) -> None:
    for mixer in mixers_of(model):
        mixer.position_bias.data.zero_()


def merging_order_exchanged(model: Backbone) -> None:
    """(0, 0), (0, 1), (1, 0), (1, 1) instead of Swin's order."""
    for stage in list(model.stages)[1:]:
        weight = stage.downsample.reduction.weight.data
        parts = weight.chunk(4, dim=1)
        stage.downsample.reduction.weight.data = torch.cat([parts[i] for i in (0, 2, 1, 3)], 1)


def no_residual_scale(model: Backbone) -> None:
    for block in model.stages[3].blocks:
        block.residual_scale1 = nn.Identity()


def no_layer_scale(model: Backbone) -> None:
    for block in model.stages[0].blocks:
        block.layer_scale = nn.Identity()


def head_activation_gelu(model: Backbone) -> None:
    model.head.hidden.activation = nn.GELU()


def batch_norm_as_new(model: Backbone) -> None:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()


def norms_of_another_eps(model: Backbone) -> None:
    for stage in model.stages:
        for block in stage.blocks:
            for norm in (block.norm1, block.norm2):
                norm.eps = 0.1


def heads_exchanged(model: Backbone) -> None:
    """Query, key and value in another order."""
    for mixer in mixers_of(model):
        if hasattr(mixer, "qkv"):
            query, key, value = mixer.qkv.weight.data.chunk(3)
            mixer.qkv.weight.data = torch.cat((key, query, value)).clone()
            mixer.qkv.weight.data[: len(query)] *= -1


def pooling_of_another_size(model: Backbone) -> None:
    for mixer in mixers_of(model):
        mixer.pool_size = 5


def focal_levels_exchanged(model: Backbone) -> None:
    """The gates of the first two levels, each on the other's context."""
    for mixer in mixers_of(model):
        weight = mixer.query_context_gates.weight.data
        gates = weight[-mixer.split[2] :]
        gates[[0, 1]] = gates[[1, 0]]


def norm_before_the_downsampling(model: Backbone) -> None:
    for stage in list(model.stages)[1:]:
        stage.downsample.norm = nn.Identity()


def no_norm_on_the_shortcut(model: Backbone) -> None:
    for stage in model.stages:
        stage.downsample.shortcut.norm = nn.Identity()


def no_activation_behind_the_sum(model: Backbone) -> None:
    for stage in model.stages:
        for block in stage.blocks:
            block.last_act = nn.Identity()


def mean_in_the_place_of_max_pooling(model: Backbone) -> None:
    model.stem.pool = nn.AvgPool2d(3, 2, 1)


MUTANTS: list[tuple[str, Callable[[Backbone], None]]] = [
    *((name, every_mixer_the_identity) for name in PAIRS),
    *((name, the_last_mixer_the_identity) for name in PAIRS),
    ("inceptionnext_t", identity_channels_last),
    ("inceptionnext_t", bands_exchanged),
    ("inceptionnext_t", kernel_mirrored),
    ("inceptionnext_t", no_layer_scale),
    ("inceptionnext_t", batch_norm_as_new),
    ("convnext_t", kernel_mirrored),
    ("convnext_t", kernel_smaller),
    ("convnext_t", no_layer_scale),
    ("convformer_s18", kernel_smaller),
    ("convformer_s18", no_residual_scale),
    ("convformer_s18", head_activation_gelu),
    ("swin_t", no_shift),
    ("swin_t", no_mask),
    ("swin_t", no_position_bias),
    ("swin_t", merging_order_exchanged),
    ("caformer_s18", heads_exchanged),
    ("caformer_s18", kernel_smaller),
    ("caformer_s18", no_residual_scale),
    ("poolformer_s12", pooling_of_another_size),
    ("poolformerv2_s12", pooling_of_another_size),
    ("poolformer_s12", norms_of_another_eps),
    ("poolformerv2_s12", no_residual_scale),
    ("focalnet_t", focal_levels_exchanged),
    ("focalnet_t", norms_of_another_eps),
    ("focalnet_t", norm_before_the_downsampling),
    ("resnet50", kernel_mirrored),
    ("resnet50", no_norm_on_the_shortcut),
    ("resnet50", no_activation_behind_the_sum),
    ("resnet50", mean_in_the_place_of_max_pooling),
]


@pytest.fixture(scope="module")
def reference() -> Callable[[str], tuple[nn.Module, Tensor]]:
    """timm's model with random weights and its logits, once for all mutants of a pair."""
    known: dict[str, tuple[nn.Module, Tensor]] = {}

    def find(zoo_name: str) -> tuple[nn.Module, Tensor]:
        if zoo_name not in known:
            theirs = timm_model(zoo_name).eval()
            with torch.no_grad():
                known[zoo_name] = theirs, theirs(some_images())
        return known[zoo_name]

    return find


@pytest.mark.parametrize(
    ("zoo_name", "mutate"), MUTANTS, ids=[f"{name}-{m.__name__}" for name, m in MUTANTS]
)
def test_a_mutant_is_seen(
    zoo_name: str,
    mutate: Callable[[Backbone], None],
    registry: MixerRegistry,
    reference: Callable[[str], tuple[nn.Module, Tensor]],
) -> None:
    theirs, expected = reference(zoo_name)
    ours = our_model(zoo_name, registry, theirs)
    with torch.no_grad():
        assert relative_difference(ours(some_images()), expected) < TOLERANCE
        mutate(ours)
        assert relative_difference(ours(some_images()), expected) > 100 * TOLERANCE


def test_fresh_weights_would_hide_an_identity_mutant(registry: MixerRegistry) -> None:
    """Why the weights are randomised: untouched ones let the worst mutant pass."""
    torch.manual_seed(0)
    model = build_backbone(load_spec("inceptionnext_t", registry), registry).eval()
    with torch.no_grad():
        before = model(some_images())
        every_mixer_the_identity(model)
        assert relative_difference(model(some_images()), before) < TOLERANCE

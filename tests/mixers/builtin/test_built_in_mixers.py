"""What every built-in mixer does, and hand-computed cases for each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mixers import MixerRegistry, MixerSpec, Site

GOLDEN = Path(__file__).parents[2] / "golden"
NAMES = [
    "attention",
    "conv",
    "focal_modulation",
    "identity",
    "inception_dw",
    "large_kernel_dw",
    "pooling",
    "random_mixing",
    "separable_conv",
    "window_attention",
]


def build(registry: MixerRegistry, name: str, site: Site, **options: object) -> nn.Module:
    torch.manual_seed(0)
    mixer = registry.build(MixerSpec.of(name, options), site)  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.normal_(0, 0.5)
    return mixer.eval()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("batch", "height", "width"), [(1, 8, 8), (2, 7, 5), (3, 1, 1)])
def test_a_mixer_keeps_the_shape_and_gives_finite_gradients(
    registry: MixerRegistry, name: str, batch: int, height: int, width: int
) -> None:
    mixer = build(registry, name, Site(32, height, width, occurrence=1))
    x = torch.randn(batch, 32, height, width, requires_grad=True)
    y = mixer(x)
    assert y.shape == x.shape
    y.square().sum().backward()
    gradients = [x.grad, *(parameter.grad for parameter in mixer.parameters())]
    assert all(g is not None and g.isfinite().all() for g in gradients)


@pytest.mark.parametrize("name", NAMES)
def test_every_searched_value_of_every_option_builds_and_runs(
    registry: MixerRegistry, name: str
) -> None:
    for option in registry[name].options:
        for value in option.domain.search_domain().values:  # type: ignore[union-attr]
            mixer = build(registry, name, Site(64, 9, 6, occurrence=1), **{option.name: value})
            assert mixer(torch.randn(2, 64, 9, 6)).shape == (2, 64, 9, 6)


@pytest.mark.parametrize("name", NAMES)
def test_memory_format_does_not_change_the_values(registry: MixerRegistry, name: str) -> None:
    mixer = build(registry, name, Site(32, 8, 8, occurrence=1))
    x = torch.randn(2, 32, 8, 8)
    last = x.contiguous(memory_format=torch.channels_last)
    expected = mixer(x)
    rounding = 1e-5 * float(expected.abs().max())
    torch.testing.assert_close(mixer(last), expected, atol=rounding, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_mixer_builds_on_the_meta_device(registry: MixerRegistry, name: str) -> None:
    with torch.device("meta"):
        mixer = registry.build(MixerSpec(name), Site(32, 8, 8, occurrence=1))
        assert mixer(torch.empty(2, 32, 8, 8)).shape == (2, 32, 8, 8)


def reach(mixer: nn.Module, size: int) -> Tensor:
    """Which input positions the output at the centre depends on: (C, size, size) of bools."""
    x = torch.randn(1, 32, size, size, requires_grad=True)
    mixer(x)[0, :, size // 2, size // 2].sum().backward()
    assert x.grad is not None
    return x.grad[0] != 0


def test_inception_passes_the_first_channels_and_convolves_the_last_three_groups(
    registry: MixerRegistry,
) -> None:
    mixer = build(registry, "inception_dw", Site(32, 15, 15), band_kernel=7, square_kernel=3)
    seen = reach(mixer, 15)
    centre = 7
    rows = [int(seen[c].any(1).sum()) for c in (0, 19, 20, 24, 28)]
    columns = [int(seen[c].any(0).sum()) for c in (0, 19, 20, 24, 28)]
    # identity, identity, square 3×3, horizontal 1×7, vertical 7×1
    assert rows == [1, 1, 3, 1, 7]
    assert columns == [1, 1, 3, 7, 1]
    x = torch.randn(1, 32, 15, 15)
    assert torch.equal(mixer(x)[:, :20], x[:, :20])
    assert seen[0, centre, centre]


def test_inception_equals_its_branches_computed_apart(registry: MixerRegistry) -> None:
    mixer = build(registry, "inception_dw", Site(16, 6, 6), band_kernel=5, branch_ratio=0.25)
    x = torch.randn(2, 16, 6, 6)
    expected = [x[:, :4]]
    for branch, start in (("square", 4), ("horizontal", 8), ("vertical", 12)):
        conv = mixer.branches[branch]
        padding = tuple(size // 2 for size in conv.kernel_size)
        part = x[:, start : start + 4]
        expected.append(F.conv2d(part, conv.weight, conv.bias, 1, padding, 1, groups=4))
    torch.testing.assert_close(mixer(x), torch.cat(expected, 1))


def test_the_large_kernel_convolves_the_last_channels_only(registry: MixerRegistry) -> None:
    mixer = build(registry, "large_kernel_dw", Site(16, 6, 6), kernel_size=3, convolved_ratio=0.25)
    x = torch.randn(1, 16, 6, 6)
    y = mixer(x)
    assert torch.equal(y[:, :12], x[:, :12])
    assert not torch.allclose(y[:, 12:], x[:, 12:])
    assert sum(parameter.numel() for parameter in mixer.parameters()) == 4 * 9 + 4


def test_pooling_subtracts_the_input_and_leaves_the_border_out_of_the_mean(
    registry: MixerRegistry,
) -> None:
    mixer = build(registry, "pooling", Site(1, 2, 2))
    x = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]])
    assert mixer(x).tolist() == [[[[2.0, 1.0], [0.0, -3.0]]]]


def test_the_separable_convolution_equals_its_steps(registry: MixerRegistry) -> None:
    mixer = build(registry, "separable_conv", Site(8, 5, 5), kernel_size=3, expansion=2.0)
    x = torch.randn(2, 8, 5, 5)
    hidden = F.conv2d(x, mixer.expand.weight)
    hidden = mixer.activation.scale * hidden.clamp(min=0) ** 2 + mixer.activation.bias
    hidden = F.conv2d(hidden, mixer.depthwise.weight, padding=1, groups=16)
    torch.testing.assert_close(mixer(x), F.conv2d(hidden, mixer.contract.weight))
    assert all(part.bias is None for part in (mixer.expand, mixer.depthwise, mixer.contract))


def test_attention_equals_softmax_of_scaled_products(registry: MixerRegistry) -> None:
    mixer = build(registry, "attention", Site(16, 2, 3), head_width=8)
    x = torch.randn(1, 16, 2, 3)
    tokens = x.flatten(2).transpose(1, 2)[0]
    query, key, value = (tokens @ mixer.qkv.weight.T).reshape(6, 3, 2, 8).unbind(1)
    heads = []
    for head in range(2):
        weights = (query[:, head] @ key[:, head].T / 8**0.5).softmax(-1)
        heads.append(weights @ value[:, head])
    expected = torch.cat(heads, 1) @ mixer.project.weight.T
    torch.testing.assert_close(mixer(x)[0].flatten(1).T, expected)


def test_attention_is_equivariant_to_a_permutation_of_positions(registry: MixerRegistry) -> None:
    mixer = build(registry, "attention", Site(32, 3, 4))
    x = torch.randn(1, 32, 3, 4)
    order = torch.randperm(12)
    shuffled = x.flatten(2)[:, :, order].reshape(x.shape)
    torch.testing.assert_close(
        mixer(shuffled).flatten(2), mixer(x).flatten(2)[:, :, order], atol=1e-5, rtol=1e-4
    )


def test_windows_do_not_see_each_other_and_shifted_ones_cross_the_border(
    registry: MixerRegistry,
) -> None:
    plain = build(registry, "window_attention", Site(32, 8, 8), window=4, shifted=False)
    shifted = build(registry, "window_attention", Site(32, 8, 8), window=4, shifted=True)
    seen_plain = reach(plain, 8).any(0)
    seen_shifted = reach(shifted, 8).any(0)
    assert seen_plain[4:, 4:].all()
    assert int(seen_plain.sum()) == 16
    assert seen_shifted[2:6, 2:6].all()
    assert int(seen_shifted.sum()) == 16


def test_what_the_cyclic_shift_brings_together_is_masked(registry: MixerRegistry) -> None:
    mixer = build(registry, "window_attention", Site(32, 8, 8), window=4, shifted=True)
    with torch.no_grad():
        mixer.qkv.weight.mul_(0.1)  # so that no weight inside the window vanishes by itself
    x = torch.randn(1, 32, 8, 8, requires_grad=True)
    mixer(x)[0, :, 0, 0].sum().backward()
    assert x.grad is not None
    seen = x.grad[0].abs().amax(0)
    # the first position shares a window with the far corner, behind a mask of -100
    assert seen[:2, :2].min() > 1e-6
    assert seen[6:, 6:].max() < 1e-12


def test_auto_shift_follows_the_occurrence_among_window_blocks(registry: MixerRegistry) -> None:
    shifts = [
        registry.build(MixerSpec("window_attention"), Site(32, 14, 14, occurrence=n)).shift
        for n in range(4)
    ]
    assert shifts == [(0, 0), (3, 3), (0, 0), (3, 3)]


def test_a_window_that_covers_the_map_is_cut_to_it_and_not_shifted(registry: MixerRegistry) -> None:
    mixer = registry.build(MixerSpec("window_attention"), Site(32, 5, 9, occurrence=1))
    assert mixer.window == (5, 7)
    assert mixer.shift == (0, 3)


def test_a_window_mixer_runs_on_another_map_than_it_was_built_for(registry: MixerRegistry) -> None:
    mixer = build(registry, "window_attention", Site(32, 8, 8, occurrence=1), window=4)
    wider = build(registry, "window_attention", Site(32, 12, 8, occurrence=1), window=4)
    wider.load_state_dict(mixer.state_dict())
    x = torch.randn(1, 32, 12, 8)
    torch.testing.assert_close(mixer(x), wider(x))


@pytest.mark.parametrize(
    ("name", "options"),
    [("inception_dw", {"branch_ratio": 0.0625}), ("large_kernel_dw", {"convolved_ratio": 0.0625})],
)
def test_a_ratio_that_leaves_no_channel_is_refused_in_words(
    registry: MixerRegistry, name: str, options: dict[str, float]
) -> None:
    with pytest.raises(ValueError, match="ratio: got 0.0625; 8 channels need 0.125 or more"):
        registry.build(MixerSpec.of(name, options), Site(8, 4, 4))


def test_names_options_values_and_defaults_are_those_of_the_golden_file(
    registry: MixerRegistry,
) -> None:
    described = {
        name: {
            option.name: {
                "legal": option.domain.describe(),
                "searched": option.domain.search_domain().describe(),
                "default": option.default,
            }
            for option in registry[name].options
        }
        for name in registry.names()
    }
    assert described == json.loads((GOLDEN / "mixers.json").read_text())


@pytest.mark.parametrize(
    ("options", "branches"),
    [
        ({"square_branch": False}, {"horizontal": 1, "vertical": 1}),
        ({"bands": "horizontal"}, {"square": 1, "horizontal": 1}),
        ({"bands": "vertical"}, {"square": 1, "vertical": 1}),
        ({"bands": "sequential"}, {"square": 1, "bands": 2}),
    ],
)
def test_an_inception_branch_that_is_left_out_leaves_its_channels_to_the_identity(
    options: dict[str, Any], branches: dict[str, int], registry: MixerRegistry
) -> None:
    mixer = build(registry, "inception_dw", Site(32, 15, 15), **options)
    convolutions = {
        name: sum(isinstance(part, nn.Conv2d) for part in branch.modules())
        for name, branch in mixer.branches.items()
    }
    assert convolutions == branches
    x = torch.randn(1, 32, 15, 15)
    passed = 32 - 4 * len(branches)
    y = mixer(x)
    assert torch.equal(y[:, :passed], x[:, :passed])
    assert all(not torch.equal(y[:, c], x[:, c]) for c in range(passed, 32))


def test_bands_in_sequence_reach_a_rectangle_of_a_band_each_way(registry: MixerRegistry) -> None:
    mixer = build(registry, "inception_dw", Site(32, 15, 15), bands="sequential", band_kernel=5)
    seen = reach(mixer, 15)[28]
    assert (int(seen.any(0).sum()), int(seen.any(1).sum())) == (5, 5)


def test_focal_modulation_equals_its_formula_at_one_position(registry: MixerRegistry) -> None:
    mixer = build(registry, "focal_modulation", Site(4, 3, 3), focal_levels=2, focal_window=3)
    x = torch.randn(1, 4, 3, 3)
    first = mixer.query_context_gates
    q, z, gates = F.conv2d(x, first.weight, first.bias).split([4, 4, 3], dim=1)
    z1 = F.gelu(F.conv2d(z, mixer.levels[0].weight, padding=1, groups=4))
    z2 = F.gelu(F.conv2d(z1, mixer.levels[1].weight, padding=2, groups=4))
    gathered = gates[:, :1] * z1 + gates[:, 1:2] * z2
    gathered = gathered + gates[:, 2:] * F.gelu(z2.mean((2, 3), keepdim=True))
    y = q * mixer.modulator(gathered)
    torch.testing.assert_close(mixer(x), mixer.project(y))
    assert [tuple(level.kernel_size) for level in mixer.levels] == [(3, 3), (5, 5)]


def test_random_mixing_averages_all_positions_with_weights_that_are_not_learned(
    registry: MixerRegistry,
) -> None:
    mixer = build(registry, "random_mixing", Site(3, 4, 5))
    assert not list(mixer.parameters())
    assert mixer.matrix.shape == (20, 20)
    torch.testing.assert_close(mixer.matrix.sum(1), torch.ones(20))
    assert "matrix" in mixer.state_dict()
    constant = torch.full((1, 3, 4, 5), 2.0)
    torch.testing.assert_close(mixer(constant), constant)
    x = torch.randn(2, 3, 4, 5)
    expected = torch.einsum("nm,bcm->bcn", mixer.matrix, x.flatten(2)).reshape(x.shape)
    torch.testing.assert_close(mixer(x), expected)

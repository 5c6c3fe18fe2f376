from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from search.profiling._work import count_parts, count_work, optimizer_bytes
from search.throughput import MeasurementProtocol

FLOAT = 4
BATCH, SIDE = 2, 8


def protocol(mode: Any = "infer", **settings: Any) -> MeasurementProtocol:
    return MeasurementProtocol(
        **{"mode": mode, "batch_size": BATCH, "image_size": SIDE, **settings}
    )


class Net(nn.Module):
    """A convolution, one on which `groups` acts, pooling and a linear layer."""

    def __init__(self, groups: int = 1) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 1, bias=False)
        self.second = nn.Conv2d(8, 8, 3, padding=1, groups=groups, bias=False)
        self.fc = nn.Linear(8, 5, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.second(self.first(x)).mean((2, 3)))


POSITIONS = BATCH * SIDE * SIDE
IMAGES, MAP = POSITIONS * 3, POSITIONS * 8
FIRST, FC = POSITIONS * 24, BATCH * 40


@pytest.mark.parametrize("groups", [1, 2, 8])
def test_the_backward_pass_counts_twice_the_forward_pass_whatever_the_groups(groups: int) -> None:
    """But for the first layer, whose input needs no gradient."""
    second = POSITIONS * 8 * (8 // groups) * 9
    assert count_work(Net(groups), protocol()).macs == FIRST + second + FC
    assert count_work(Net(groups), protocol("train")).macs == 2 * FIRST + 3 * second + 3 * FC


def test_a_transposed_convolution_counts_its_backward_pass_too() -> None:
    net = nn.Sequential(nn.ConvTranspose2d(3, 6, 2, stride=2, groups=3), nn.AvgPool2d(16))
    net.append(nn.Flatten())
    forward = POSITIONS * 3 * 2 * 4
    assert count_work(net, protocol()).macs == forward
    assert count_work(net, protocol("train")).macs == 2 * forward


def test_bytes_in_infer_mode_are_parameters_images_and_output() -> None:
    net = Net()
    weights = sum(parameter.numel() for parameter in net.parameters())
    assert count_work(net, protocol()).bytes == FLOAT * (weights + IMAGES + BATCH * 5)


def test_bytes_in_train_mode_add_gradients_optimizer_and_what_autograd_keeps() -> None:
    net = Net()
    weights = sum(parameter.numel() for parameter in net.parameters())
    kept = 2 * (MAP + BATCH * 8)  # the inputs of the second and of the linear layer, both ways
    output = 2 * BATCH * 5  # and its gradient
    expected = FLOAT * (weights * (2 + 7) + 2 * IMAGES + kept + output)
    assert count_work(net, protocol("train")).bytes == expected
    assert optimizer_bytes(net, protocol("train")) == FLOAT * weights * 7


def test_half_precision_halves_maps_and_a_compiled_step_need_not_keep_them() -> None:
    whole = count_work(Net(), protocol("train"))
    half = count_work(Net(), protocol("train", precision="bf16"))
    compiled = count_work(Net(), protocol("train", compile=True))
    assert compiled.bytes < half.bytes < whole.bytes
    assert compiled.macs == half.macs == whole.macs


def test_a_frozen_weight_has_neither_gradient_nor_optimizer() -> None:
    net = Net()
    everything = count_work(net, protocol("train"))
    net.fc.weight.requires_grad_(False)
    frozen = count_work(net, protocol("train"))
    assert everything.macs - frozen.macs == FC
    assert everything.bytes - frozen.bytes >= FLOAT * 40 * 8


def test_parts_add_up_and_what_hands_its_input_on_costs_nothing() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Identity(), nn.Conv2d(4, 4, 3), nn.AvgPool2d(4))
    net.append(nn.Flatten())
    parts = {str(index): part for index, part in enumerate(net)}
    for mode in ("infer", "train"):
        works = count_parts(net, protocol(mode), parts)
        assert sum(work.macs for work in works.values()) == count_work(net, protocol(mode)).macs
        assert works["1"].macs == works["1"].bytes == 0
        assert works["4"].bytes == 0


def test_a_parts_bytes_are_what_it_takes_gives_and_keeps() -> None:
    work = count_parts(net := Net(), protocol("train"), {"second": net.second})["second"]
    weights = net.second.weight.numel()
    assert work.bytes == FLOAT * (2 * weights + 2 * MAP + 2 * MAP + MAP)
    work = count_parts(net, protocol(), {"second": net.second})["second"]
    assert work.bytes == FLOAT * (weights + 2 * MAP)


def test_counting_changes_nothing_of_the_model() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.AvgPool2d(6))
    net.append(nn.Flatten()).train()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    count_work(net, protocol("train"))
    count_work(net, protocol("infer"))
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())
    assert all(module.training for module in net.modules())
    assert all(parameter.grad is None for parameter in net.parameters())


class AsksForValues(Net):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x * float(self.first.weight.detach().sum()))


def test_a_model_that_asks_for_values_is_counted_on_its_own_device() -> None:
    asking, plain = (count_work(net, protocol("train")) for net in (AsksForValues(), Net()))
    assert asking.macs == plain.macs
    assert asking.bytes - plain.bytes == FLOAT * IMAGES  # the product is written besides
    with torch.device("meta"):
        unfilled = AsksForValues()
    with pytest.raises(RuntimeError, match="meta"):
        count_work(unfilled, protocol("train"))


def test_modules_and_weights_with_two_names_count_and_stay() -> None:
    conv = nn.Conv2d(3, 3, 1, bias=False)
    tied = nn.Conv2d(3, 3, 1, bias=False)
    tied.weight = conv.weight
    net = nn.Sequential(conv, nn.Sequential(conv, tied), nn.AvgPool2d(8), nn.Flatten())
    work = count_work(net, protocol("train"))
    assert work.macs == 3 * POSITIONS * 9 * 3 - POSITIONS * 9
    assert net[0] is net[1][0]  # type: ignore[index]
    assert tied.weight is conv.weight
    assert conv.weight.device.type == "cpu"


def test_what_a_model_raises_comes_through() -> None:
    with pytest.raises(RuntimeError, match="channels"):
        count_work(Net(), protocol(in_channels=4))


@pytest.mark.parametrize("name", ["convnext_atto", "resnet18", "vit_tiny_patch16_224"])
def test_training_real_models_takes_about_three_times_the_macs_of_inference(name: str) -> None:
    size = {"img_size": 64} if name.startswith("vit") else {}
    with torch.device("meta"):
        model = timm.create_model(name, **size)
    infer, train = (count_work(model, protocol(mode, image_size=64)) for mode in ("infer", "train"))
    assert 2.8 < train.macs / infer.macs <= 3
    assert train.bytes > 5 * infer.bytes

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from metaformer import build_backbone
from metaformer.spec import BackboneSpec
from mixers import MixerRegistry
from search.data import Splits, load_data
from search.data.splits import ImagesInMemory
from search.errors import Interrupted
from search.study_config import TrainConfig
from search.training import Diverged, accuracy, augment, batches, normalise, train_and_score

CPU = torch.device("cpu")


def config(**fields: object) -> TrainConfig:
    base = {"data": "digits", "image_size": 8, "batch_size": 64, "epochs": 5, "learning_rate": 1e-2}
    return TrainConfig.model_validate({**base, **fields})


@pytest.fixture(scope="module")
def digits() -> Splits:
    return load_data("digits", 8)


def network(registry: MixerRegistry) -> nn.Module:
    stage = {"depth": 1, "width": 32, "block": "metanext", "norm": "batch_norm"}
    stage["mixer"] = {"large_kernel_dw": {"kernel_size": 5}}
    spec = BackboneSpec.model_validate(
        {
            "name": "x",
            "num_classes": 10,
            "image_size": 8,
            "stem": {"kernel_size": 2, "stride": 2, "norm": "batch_norm"},
            "stages": [stage],
            "head": {"norm": "layer_norm"},
        }
    )
    torch.manual_seed(0)
    return build_backbone(spec, registry)


def test_training_learns_the_digits(registry: MixerRegistry, digits: Splits) -> None:
    model = network(registry)
    before = accuracy(model, digits.validation, config(), device=CPU)
    score = train_and_score(model, digits, config(), device=CPU, seed=0)
    assert before < 0.3
    assert score.value > 0.6
    assert (score.metric, score.epochs, score.split) == ("accuracy", 5, "validation")
    assert accuracy(model, digits.validation, config(), device=CPU) == score.value


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(
    registry: MixerRegistry, digits: Splits
) -> None:
    def weights(seed: int) -> Tensor:
        model = network(registry)
        train_and_score(model, digits, config(epochs=1), device=CPU, seed=seed)
        return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])

    one = weights(1)
    assert torch.equal(one, weights(1))
    assert not torch.equal(one, weights(2))


class Exploding(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(10))
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        factor = float("nan") if self.calls > 3 else 1.0
        return x.mean((1, 2, 3))[:, None] * self.scale * factor


def test_a_loss_that_is_no_number_ends_the_training_with_its_place(digits: Splits) -> None:
    with pytest.raises(Diverged, match="the loss became nan in epoch 1, step 4"):
        train_and_score(Exploding(), digits, config(), device=CPU, seed=0)


def test_check_is_asked_before_each_batch_and_may_stop(
    registry: MixerRegistry, digits: Splits
) -> None:
    asked = 0

    def check() -> None:
        nonlocal asked
        asked += 1
        if asked == 3:
            raise Interrupted

    with pytest.raises(Interrupted):
        train_and_score(network(registry), digits, config(), device=CPU, seed=0, check=check)
    assert asked == 3


def test_epochs_are_reported_with_their_mean_loss(registry: MixerRegistry, digits: Splits) -> None:
    heard: list[tuple[int, float]] = []
    train_and_score(
        network(registry),
        digits,
        config(),
        device=CPU,
        seed=0,
        on_epoch=lambda epoch, loss: heard.append((epoch, loss)),
    )
    assert [epoch for epoch, _ in heard] == [1, 2, 3, 4, 5]
    assert heard[-1][1] < heard[0][1]


class Recorded(ImagesInMemory):
    def fetch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        return super().fetch(indices)


def test_batches_cover_the_order_once_and_in_order() -> None:
    images = torch.arange(10, dtype=torch.uint8).reshape(10, 1, 1, 1).expand(10, 3, 2, 2)
    part = Recorded(images, torch.arange(10))
    order = [3, 1, 4, 0, 5, 9, 2, 6]
    seen = [labels.tolist() for _, labels in batches(part, order, 3)]
    assert seen == [[3, 1, 4], [0, 5, 9], [2, 6]]


def test_an_error_while_reading_reaches_the_training() -> None:
    class Broken(ImagesInMemory):
        def fetch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
            raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        list(batches(Broken(torch.zeros(4, 3, 2, 2), torch.zeros(4)), range(4), 2))


def test_shifts_keep_size_and_values_and_mirroring_is_optional() -> None:
    images = torch.randint(0, 256, (64, 3, 16, 16), dtype=torch.uint8)
    shifted = augment(images, mirror=False, generator=torch.Generator().manual_seed(0))
    assert shifted.shape == images.shape
    assert not torch.equal(shifted, images.float())
    interior = images[:, :, 4:12, 4:12].float()
    # every interior of a source image is found, unmirrored, within two positions of its place
    for image, source in zip(shifted, interior, strict=True):
        places = [image[:, y : y + 8, x : x + 8] for y in range(2, 7) for x in range(2, 7)]
        assert any(torch.equal(place, source) for place in places)


def test_half_of_the_images_are_mirrored_where_labels_allow_it() -> None:
    ramp = torch.arange(16, dtype=torch.uint8).repeat(200, 3, 16, 1)
    out = augment(ramp, mirror=True, generator=torch.Generator().manual_seed(0))
    falling = (out[:, 0, 0, 0] > out[:, 0, 0, -1]).float().mean()
    assert 0.35 < falling < 0.65


def test_normalised_images_have_the_stated_mean_and_layout() -> None:
    grey = torch.full((2, 3, 4, 4), 128, dtype=torch.uint8)
    out = normalise(grey, CPU)
    expected = (128 / 255 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor(
        [0.229, 0.224, 0.225]
    )
    torch.testing.assert_close(out[0, :, 0, 0], expected)
    assert out.is_contiguous(memory_format=torch.channels_last)

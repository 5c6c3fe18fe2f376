from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from metaformer import build_backbone
from metaformer.spec import BackboneSpec
from mixers import MixerRegistry
from search.data import Splits, load_data
from search.errors import Interrupted
from search.study_config import TrainConfig
from search.training import Diverged, accuracy, train_and_score

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

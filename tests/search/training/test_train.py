from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from metaformer import build_backbone
from metaformer.spec import BackboneSpec
from mixers import MixerRegistry
from search.data import Splits
from search.errors import Interrupted
from search.training import Diverged, accuracy, train_and_score
from search.training.config import TrainConfig

CPU = torch.device("cpu")


def config(**fields: object) -> TrainConfig:
    base = {"data": "digits", "image_size": 8, "batch_size": 64, "epochs": 5, "learning_rate": 1e-2}
    return TrainConfig.model_validate({**base, **fields})


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


def test_after_each_epoch_the_model_is_scored(registry: MixerRegistry, digits: Splits) -> None:
    model = network(registry)
    score = train_and_score(model, digits, config(), device=CPU, seed=0)
    assert len(score.by_epoch) == 5
    assert score.by_epoch[-1] == score.value
    assert score.to_data()["by_epoch"] == list(score.by_epoch)
    assert score.trainer is None


class Constant(nn.Module):
    """Answers with the same numbers whatever it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = nn.Parameter(torch.zeros(10))

    def forward(self, x: Tensor) -> Tensor:
        return self.answer.expand(len(x), 10)


def test_a_model_that_learns_nothing_is_bad_and_has_not_diverged(digits: Splits) -> None:
    score = train_and_score(Constant(), digits, config(epochs=2), device=CPU, seed=0)
    assert score.value < 0.15


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_learning_rate_far_too_high_diverges_and_says_where(
    registry: MixerRegistry, digits: Splits, precision: str
) -> None:
    settings = config(learning_rate=1e30, optimizer="sgd", precision=precision)
    with pytest.raises(Diverged, match="epoch 1") as told:
        train_and_score(network(registry), digits, settings, device=CPU, seed=0)
    assert told.value.epoch == 1


class NeverRightInEval(nn.Module):
    """Trains soundly and answers nonsense afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = nn.Parameter(torch.zeros(10))

    def forward(self, x: Tensor) -> Tensor:
        factor = 1.0 if self.training else float("inf")
        return (self.answer + 1).expand(len(x), 10) * factor


def test_answers_that_are_no_numbers_are_told_with_their_epoch(digits: Splits) -> None:
    with pytest.raises(Diverged, match="not finite, after epoch 1") as told:
        train_and_score(NeverRightInEval(), digits, config(), device=CPU, seed=0)
    assert (told.value.epoch, told.value.step) == (1, None)


def test_a_moving_average_is_what_is_scored_and_kept(
    registry: MixerRegistry, digits: Splits
) -> None:
    averaged, plain = network(registry), network(registry)
    settings = config(epochs=3, ema_decay=0.9)
    score = train_and_score(averaged, digits, settings, device=CPU, seed=0)
    train_and_score(plain, digits, config(epochs=3), device=CPU, seed=0)
    assert accuracy(averaged, digits.validation, settings, device=CPU) == score.value
    pairs = list(zip(averaged.parameters(), plain.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in pairs)
    # the average lags behind the weights and is not far from them
    assert all((a - b).norm() < b.norm() for a, b in pairs if b.ndim > 1)


def test_clipped_gradients_bound_a_step_of_plain_gradient_descent(
    registry: MixerRegistry, digits: Splits
) -> None:
    def moved(**fields: object) -> float:
        model, before = network(registry), network(registry)
        settings = config(epochs=1, optimizer="sgd", learning_rate=1e-3, batch_size=2048, **fields)
        train_and_score(model, digits, settings, device=CPU, seed=0)
        pairs = zip(model.parameters(), before.parameters(), strict=True)
        return sum(float((a - b).detach().square().sum()) for a, b in pairs) ** 0.5

    assert moved(gradient_norm=1e-3, weight_decay=0.0) < 1e-3 * 1e-3 * 2
    assert moved(weight_decay=0.0) > 1e-3 * 1e-3 * 2

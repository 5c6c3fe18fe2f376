"""An Optuna `BaseTrial` that samples a define-by-run space without a study."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from optuna.distributions import (
    BaseDistribution,
    CategoricalChoiceType,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import BaseTrial

Picker: TypeAlias = Callable[[str, BaseDistribution], Any]


class ProbeTrial(BaseTrial):
    """Values that `pick` chooses for one candidate, in the order in which they are asked for."""

    def __init__(self, pick: Picker) -> None:
        self._pick = pick
        self._params: dict[str, Any] = {}
        self._distributions: dict[str, BaseDistribution] = {}
        self._user_attrs: dict[str, Any] = {}

    def suggest(self, name: str, distribution: BaseDistribution) -> Any:
        """The value of `name`; asked for twice it is the same."""
        if name not in self._params:
            self._params[name] = self._pick(name, distribution)
            self._distributions[name] = distribution
        return self._params[name]

    def suggest_float(
        self,
        name: str,
        low: float,
        high: float,
        *,
        step: float | None = None,
        log: bool = False,
    ) -> float:
        return float(self.suggest(name, FloatDistribution(low, high, log=log, step=step)))

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int:
        return int(self.suggest(name, IntDistribution(low, high, log=log, step=step)))

    def suggest_categorical(  # type: ignore[override]  # Optuna's overloads say the same
        self, name: str, choices: Sequence[CategoricalChoiceType]
    ) -> CategoricalChoiceType:
        value: CategoricalChoiceType = self.suggest(name, CategoricalDistribution(choices))
        return value

    def suggest_uniform(self, name: str, low: float, high: float) -> float:
        return self.suggest_float(name, low, high)

    def suggest_loguniform(self, name: str, low: float, high: float) -> float:
        return self.suggest_float(name, low, high, log=True)

    def suggest_discrete_uniform(self, name: str, low: float, high: float, q: float) -> float:
        return self.suggest_float(name, low, high, step=q)

    def report(self, value: float, step: int) -> None:
        """A draft is not evaluated; what is reported is not kept."""

    def should_prune(self) -> bool:
        return False

    def set_constraint(self, key: str, value: float) -> None:
        """Limits belong to `constraints`; what is set on a draft is not kept."""

    def set_user_attr(self, key: str, value: Any) -> None:
        self._user_attrs[key] = value

    @property
    def params(self) -> dict[str, Any]:
        return self._params

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        return self._distributions

    @property
    def user_attrs(self) -> dict[str, Any]:
        return self._user_attrs

    @property
    def datetime_start(self) -> datetime.datetime | None:
        return None

    @property
    def number(self) -> int:
        return -1

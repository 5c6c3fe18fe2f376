"""Parameters of a space, and those of their values that are legal in no combination."""

from __future__ import annotations

import random
from collections.abc import Callable

from metaformer.errors import Problem, SpecError, distinct
from metaformer.spec import BackboneSpec
from mixers import Domain, OptionValue
from search.space._syntax import Chooser, ends

COMBINATIONS = (
    50  # of other values, that are tried with one which is illegal next to the first ones
)


class Explorer:
    """Tries each value of a space.

    Attributes:
        parameters: All that may be chosen, by name.
        mixer_names: All mixers that may occur.
    """

    def __init__(self, backbone: Callable[[Chooser], BackboneSpec], check: Callable[[], None]):
        """`backbone` makes one of chosen values, or raises SpecError; `check` may raise to stop."""
        self.parameters: dict[str, Domain] = {}
        self.mixer_names: set[str] = set()
        self._backbone = backbone
        self._check = check
        self._generator = random.Random(0)
        self._pending: list[dict[str, OptionValue]] = [{}]

    def explore(self) -> None:
        """Try each value next to first values of the others, then next to any of them.

        SpecError, with all problems, for values that have one problem with whatever others they
        are tried. The order of choices does not count.
        """
        problems: list[Problem] = []
        while self._pending:
            self._check()
            problems += self._try(self._pending.pop())
        if problems:
            raise SpecError(distinct(problems))

    def _try(self, fixed: dict[str, OptionValue]) -> list[Problem]:
        """The problems that all combinations with the last value of `fixed` have."""
        new: list[str] = []

        def first(name: str, domain: Domain) -> OptionValue:
            values = ends(domain)
            if name not in self.parameters:
                self.parameters[name] = domain
                new.append(name)
                self._pending += [{**fixed, name: value} for value in values[1:]]
            return fixed.get(name, values[0])

        try:
            self._add_mixers(self._backbone(first))
        except SpecError as error:
            # which of the first values is to blame shows when each is tried with others
            self._pending += [{**fixed, name: ends(self.parameters[name])[0]} for name in new]
            return self._problems_of_all(fixed, error)
        return []

    def _problems_of_all(self, fixed: dict[str, OptionValue], error: SpecError) -> list[Problem]:
        """Those of `error` that no combination is without; none if one is legal."""
        last = next(reversed(fixed), None)
        always = list(error.problems)
        for _ in range(COMBINATIONS):
            self._check()
            asked: set[str] = set()

            def mixed(name: str, domain: Domain, asked: set[str] = asked) -> OptionValue:
                asked.add(name)
                values = ends(domain)
                if name == last or (name in fixed and self._generator.random() < 0.5):
                    return fixed[name]
                few = self._generator.random() < 0.2
                return values[0] if few else self._generator.choice(values)

            try:
                spec = self._backbone(mixed)
            except SpecError as other:
                if last is None or last in asked:
                    always = [problem for problem in always if problem in other.problems]
            else:
                if last is None or last in asked:
                    self._add_mixers(spec)
                    return []
        return always

    def _add_mixers(self, spec: BackboneSpec) -> None:
        self.mixer_names.update(mixer.name for stage in spec.stages for mixer in stage.mixer)

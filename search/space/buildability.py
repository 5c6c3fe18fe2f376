"""Check that candidates can be built at the sizes that a study measures and trains.

Values that are legal each may not go together: groups that do not divide a width, an image that
leaves a stage no map.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from metaformer.backbone import build_backbone
from metaformer.errors import Problem, SpecError, parse_path
from metaformer.extends import mark_of
from metaformer.spec import BackboneSpec
from mixers import Choice, Domain, IntRange, MixerFault, MixerRegistry, OptionValue
from search.space.search_space import SearchSpace

PROBES = 50  # candidates drawn before a space counts as one that holds none


@dataclass(frozen=True)
class BuildCheck:
    """Builds candidates at each of `image_sizes` (pixels, by the setting that asks for them)."""

    registry: MixerRegistry
    image_sizes: Mapping[str, int]

    def __call__(self, spec: BackboneSpec) -> None:
        """SpecError if `spec` cannot be built, its problem a fault if a mixer's code is to blame.

        What is neither is left to the evaluation, which records it.
        """
        for setting, size in self.image_sizes.items():
            try:
                build_backbone(spec, self.registry, image_size=size, device="meta")
            except SpecError as error:
                first = error.problems[0]
                words = f"{first.message}; asked for by {setting} {size}"
                raise SpecError(replace(first, message=words)) from None
            except MixerFault as fault:
                words = f"{fault.message}; asked for by {setting} {size}"
                problem = Problem(fault.path, words, mixer=fault.mixer, is_fault=True)
                raise SpecError(problem) from fault.__cause__
            except Exception:  # noqa: BLE001  # of no mixer: the evaluation reports it
                return


def require_some_buildable(space: SearchSpace, check: BuildCheck) -> None:
    """Refuse a space of which no candidate drawn can be built, with the commonest reason.

    Raises:
        SpecError: Values do not go together, or mixers refuse them.
        PluginError: The commonest reason is that a mixer's own code raises.
    """
    generator = random.Random(0)
    problems: Counter[Problem] = Counter()
    for _ in range(PROBES):
        try:
            check(space.backbone(lambda _name, domain: draw(domain, generator)))
        except SpecError as error:
            problems[error.problems[0]] += 1
        else:
            return
    problem = problems.most_common(1)[0][0]
    words = f"none of {PROBES} candidates drawn from the space can be built; most often: "
    mark = problem.mark or mark_of(space.tree, parse_path(problem.path))
    problem = replace(problem, message=words + problem.message, mark=mark)
    if problem.is_fault:
        raise MixerFault(problem.mixer, problem.message, shown=str(problem))
    raise SpecError(problem)


def draw(domain: Domain, generator: random.Random) -> OptionValue:
    """A value of the domain, each as likely as the others."""
    if isinstance(domain, Choice):
        return generator.choice(domain.values)
    if isinstance(domain, IntRange):
        return generator.randrange(domain.low, domain.high + 1, domain.step)
    if domain.step is None:
        return generator.uniform(domain.low, domain.high)
    steps = int((domain.high - domain.low) / domain.step + 1e-6)
    return domain.low + domain.step * generator.randint(0, steps)

"""Check of a mixer's `allows`: its answers agree with its constructor."""

from __future__ import annotations

from mixers.class_attributes import has_allows
from mixers.conformance._mixer_under_test import NO_OPTIONS, MixerUnderTest, Options, stated
from mixers.conformance._shapes import boundary_values
from mixers.conformance._sites import SITES, describe
from mixers.conformance.records import CheckFailed, NotApplicable, require


def check_allows(subject: MixerUnderTest) -> str:
    """A reason or None, the same twice; with None the constructor succeeds."""
    if not has_allows(subject.mixer_class):
        raise NotApplicable("not declared")
    variants: list[Options] = [NO_OPTIONS]
    for option in subject.options:
        variants += [{option.name: value} for value in boundary_values(option.domain)]
    reasons: list[str] = []
    for site in SITES:
        for options in variants:
            words = f"{stated(options)} at {describe(site)}"
            reason = subject.disallowed(site, options)
            again = subject.disallowed(site, options)
            require(reason == again, f"{words}: allows answers {reason!r}, then {again!r}")
            if reason is not None:
                reasons.append(reason)
                continue
            try:
                subject.build(site, options)
            except ValueError as error:
                raise CheckFailed(
                    f"{words}: allows gives no reason, and the constructor refuses: {error}"
                ) from None
    return f"{len(SITES) * len(variants)} combinations, {len(reasons)} with a reason"

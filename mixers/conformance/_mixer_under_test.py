"""The mixer under test: built at sites, filled with randomised values, run on fresh images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from mixers._signature import Option, arguments, read_options
from mixers.class_attributes import disallowed_reason, requirements
from mixers.conformance._global_state import isolated, seed_torch
from mixers.conformance._operator_watch import OperatorWatch
from mixers.conformance._sites import SITES, describe
from mixers.conformance.records import CheckFailed, NotApplicable, require
from mixers.interface import Site
from mixers.options import OptionValue
from mixers.third_party_code import is_refusal

Options: TypeAlias = Mapping[str, OptionValue]
NO_OPTIONS: Options = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Refusal:
    """A reason that `allows` gives, or a ValueError of the constructor that names an option or a
    property of the site."""

    words: str


class MixerUnderTest:
    """One mixer class; what it builds is seeded, so that two calls give the same mixer."""

    def __init__(self, mixer_class: type[nn.Module], device: str | None = None) -> None:
        """`device` is by default one that the mixer requires, if it is here, else the CPU."""
        self.mixer_class = mixer_class
        needs_cuda = "cuda" in self._requires and torch.cuda.is_available()
        self.device = device or ("cuda" if needs_cuda else "cpu")

    @cached_property
    def _requires(self) -> tuple[str, ...]:
        """Nothing if the declaration is not legal, which the check `declarations` reports."""
        try:
            return requirements(self.mixer_class)
        except Exception:  # noqa: BLE001 -- an author's
            return ()

    @property
    def unmet_requirement(self) -> str | None:
        """Why most checks cannot run on this device; None if they can."""
        kind = torch.device(self.device).type
        if not self._requires or kind in self._requires:
            return None
        needs = ", ".join(self._requires)
        return (
            f"requires {needs}, checked on {kind}; run `search mixers check` with --device {needs}"
        )

    @cached_property
    def options(self) -> tuple[Option, ...]:
        """NotApplicable if the constructor cannot be read."""
        try:
            return read_options(self.mixer_class)
        except Exception:  # noqa: BLE001 -- an author's; the check `signature` tells it
            raise NotApplicable("the constructor cannot be read; see signature") from None

    @cached_property
    def sites(self) -> tuple[Site, ...]:
        """Sites at which the mixer can be built with its default options; NotApplicable if none."""
        if self.unmet_requirement is not None:
            raise NotApplicable(self.unmet_requirement)
        with isolated():  # so that what the search does to the process hides nothing later
            found = tuple(site for site in SITES if self._can_be_built(site))
        if not found:
            raise NotApplicable("cannot be built with its default options; see options")
        return found

    @property
    def site(self) -> Site:
        """The first of `sites`, for what is tried once."""
        return self.sites[0]

    @property
    def small_site(self) -> Site:
        """The one with the fewest values among the first three."""
        return min(self.sites[:3], key=lambda site: site.channels * site.height * site.width)

    def _can_be_built(self, site: Site) -> bool:
        try:
            if self.disallowed(site) is not None:
                return False
            self.build(site)
        except Exception:  # noqa: BLE001 -- an author's; the checks `shapes` and `options` tell it
            return False
        return True

    def disallowed(self, site: Site, options: Options = NO_OPTIONS) -> str | None:
        """Return the answer of the mixer's `allows`, None if it has none."""
        defaults = {option.name: option.default for option in self.options}
        values = arguments(self.options, {**defaults, **options})
        return disallowed_reason(self.mixer_class, site, values)

    def declares(self, name: str) -> bool:
        return bool(getattr(self.mixer_class, name, False))

    def build(
        self, site: Site | None = None, options: Options = NO_OPTIONS, *, seed: int = 0
    ) -> nn.Module:
        """The mixer in training mode, as its author initialised it after `seed`."""
        site = site or self.site
        seed_torch(seed)
        return self.mixer_class(site, **(arguments(self.options, options) if options else {}))

    def build_or_refusal(self, site: Site, options: Options = NO_OPTIONS) -> nn.Module | Refusal:
        """The mixer, or why its author says that the values do not go with this site.

        CheckFailed for a ValueError that names neither an option nor a property of the site.
        """
        reason = self.disallowed(site, options)
        if reason is not None:
            return Refusal(reason)
        try:
            return self.build(site, options)
        except ValueError as error:
            if is_refusal(error, [option.name for option in self.options]):
                return Refusal(str(error))
            raise CheckFailed(
                f"{stated(options)} at {describe(site)}: ValueError: {error}; a refusal must name "
                "the option, or the property of the site, that does not go"
            ) from None

    def randomised(
        self,
        site: Site | None = None,
        options: Options = NO_OPTIONS,
        *,
        dtype: torch.dtype = torch.float32,
    ) -> nn.Module:
        """The mixer in evaluation mode with randomised parameters, so that zero initialisation
        hides no bug."""
        mixer = self.build(site, options)
        return randomise(mixer).to(dtype).eval()

    def images(
        self, batch: int = 2, site: Site | None = None, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        site = site or self.site
        return random_images(batch, site.channels, site.height, site.width, dtype)


def stated(options: Options) -> str:
    """The options in words."""
    return ", ".join(f"{name}={value!r}" for name, value in options.items()) or "default options"


def random_images(
    batch: int, channels: int, height: int, width: int, dtype: torch.dtype = torch.float32
) -> Tensor:
    """The same numbers for the same shape, in every type; torch's own state stays as it is."""
    generator = torch.Generator("cpu").manual_seed(batch)
    shape = (batch, channels, height, width)
    images = torch.randn(shape, generator=generator, dtype=torch.float64, device="cpu")
    return images.to(torch.get_default_device(), dtype)


def randomise(mixer: nn.Module) -> nn.Module:
    """Move parameters and saved buffers off the values at which faults do not show.

    Matrices and kernels get noise of deviation 1/√fan_in. Vectors and buffers are scaled by a
    factor around 1, which keeps signs, so that variances and temperatures stay positive; entries
    of vectors near 0, and buffers of zeros, become small random numbers.
    """
    generator = torch.Generator("cpu").manual_seed(1)
    saved = mixer.state_dict(keep_vars=True)
    buffers = [buffer for name, buffer in mixer.named_buffers() if name in saved]
    with torch.no_grad():
        for tensor in (*mixer.parameters(), *buffers):
            if not tensor.is_floating_point():
                continue
            shape, dtype = tensor.shape, torch.float64  # drawn on the CPU, alike on every device
            noise = torch.randn(shape, generator=generator, dtype=dtype, device="cpu").to(tensor)
            if isinstance(tensor, nn.Parameter) and tensor.numel() > max((1, *tensor.shape)):
                tensor.add_(noise * (tensor.numel() / tensor.shape[0]) ** -0.5)
                continue
            near_zero = tensor.abs() < 1e-2
            if not isinstance(tensor, nn.Parameter):
                near_zero &= near_zero.all()
            tensor.copy_(torch.where(near_zero, 0.2 * noise, tensor * (0.2 * noise).exp()))
    return mixer


def run(mixer: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """The mixer's output for a copy of `images`, so that one that writes into it does no harm."""
    output = mixer(images.clone())
    require(
        isinstance(output, Tensor),
        f"forward returns {type(output).__name__}; allowed: a tensor",
    )
    return output


def require_equal(found: Tensor, expected: Tensor, words: str, *, tolerance: float = 0.0) -> None:
    """CheckFailed unless shapes are equal and values, relative to the largest one, close."""
    require(
        found.shape == expected.shape,
        f"{words}: shape {tuple(found.shape)} instead of {tuple(expected.shape)}",
    )
    found, expected = found.detach().double(), expected.detach().double()
    require(bool(expected.isfinite().all()), f"{words}: the values are not finite")
    largest = float(expected.abs().amax()) if expected.numel() else 0.0
    difference = float((found - expected).abs().amax()) if expected.numel() else 0.0
    require(
        difference <= tolerance * largest,  # also false for nan
        f"{words}: values differ by {difference:.3g}, the largest is {largest:.3g}",
    )


@dataclass(frozen=True, slots=True)
class Precision:
    """The coarsest floating-point type that a mixer computes in, though its input is finer."""

    dtype: torch.dtype

    @property
    def rounding(self) -> float:
        """The largest difference, relative to the largest value, that rounding explains."""
        return {torch.float64: 1e-10, torch.float32: 1e-4}.get(self.dtype, 5e-2)


def kept_precision(mixer: nn.Module, images: Tensor) -> Precision:
    """The precision that `mixer` keeps of `images`: some norms and transforms are in float32."""
    with _CoarsestType(images.dtype) as seen, torch.no_grad():
        run(mixer, images)
    return Precision(seen.coarsest)


class _CoarsestType(OperatorWatch):
    """Notes the coarsest floating-point type among the outputs of operators."""

    def __init__(self, coarsest: torch.dtype) -> None:
        super().__init__()
        self.coarsest = coarsest

    def see(self, operator: Any, arguments: Sequence[Any], output: Any) -> None:
        if isinstance(output, Tensor) and output.numel() > 1:
            dtype = output.dtype.to_real() if output.is_complex() else output.dtype
            coarser = dtype.is_floating_point and dtype.itemsize < self.coarsest.itemsize
            self.coarsest = dtype if coarser else self.coarsest

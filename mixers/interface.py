"""Interface of a token mixer, and the place in a backbone that it is built for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Site:
    """Place of a mixer in a backbone.

    Attributes:
        channels: Channels of the mixer's input and output.
        height: Rows of the map at the size that the backbone is built for, in positions.
        width: Columns of the map, in positions.
        stage: Index of the stage, from 0.
        block: Index of the block in its stage, from 0.
        occurrence: Index of the block among those of its stage that use the same mixer, from 0.
            Shifted windows alternate over it, also with other mixers between them.
        dilation: Above 1 if the backbone trades stride for dilation.
        drop_path: Rate of stochastic depth of the block, 0 or more and below 1. The block applies
            it, the mixer need not. It is 0 if a model is built for inference, so no shape of a
            weight may depend on it.
        stage_depth: Number of blocks in the stage.
        network_block: Index of the block in the backbone, from 0.
        network_depth: Number of blocks in the backbone. A residual downsample, which has no mixer,
            does not count as a block here.

    Depths of 0, the default, stand for the smallest that the block allows, so that a site may be
    written with the map alone.
    """

    channels: int
    height: int
    width: int
    stage: int = 0
    block: int = 0
    occurrence: int = 0
    dilation: int = 1
    drop_path: float = 0.0
    stage_depth: int = 0
    network_block: int = 0
    network_depth: int = 0

    def __post_init__(self) -> None:
        for name in ("channels", "height", "width", "dilation"):
            if getattr(self, name) < 1:
                raise ValueError(f"Site.{name}: got {getattr(self, name)}; allowed: 1 or more")
        for name in ("stage", "block", "occurrence"):
            if getattr(self, name) < 0:
                raise ValueError(f"Site.{name}: got {getattr(self, name)}; allowed: 0 or more")
        if not 0 <= self.drop_path < 1:
            words = f"got {self.drop_path}; allowed: 0 or more and below 1"
            raise ValueError(f"Site.drop_path: {words}")
        self._require_or_fill("network_block", self.block)
        self._require_or_fill("stage_depth", self.block + 1)
        self._require_or_fill("network_depth", max(self.stage_depth, self.network_block + 1))

    def _require_or_fill(self, name: str, least: int) -> None:
        """Set a field that is 0 to `least`; ValueError if it is smaller."""
        value = getattr(self, name)
        if value == 0:
            object.__setattr__(self, name, least)
        elif value < least:
            words = f"got {value}; allowed: {least} or more, since block is {self.block}"
            raise ValueError(f"Site.{name}: {words}")


class Mixer(Protocol):
    """A module that moves information between positions: (B, C, H, W) -> (B, C, H, W).

    A mixer is an `nn.Module` whose constructor takes the site first and then keyword-only,
    annotated, defaulted options:

        def __init__(self, site: Site, *, kernel_size: Annotated[int, Choice(3, 5, 7)] = 7): ...

    An option may be annotated with `Literal[...]`, `bool`, an `Enum`, or one of these or None too.

    It initialises its own weights. What it declares in addition to its options are plain class
    attributes:

    - `needs_normalised_input` (default False): it fails to train in a block that does not
      normalise before the mixer, such as MetaNeXt's. `mixer: any` has it in MetaFormer blocks
      only; a spec that names it is obeyed.
    - `fixed_map_size` (default False): it works on maps of the height and width that it was built
      for and no other. `mixer: any` leaves it out.
    - `supports_dilation` (default False): it widens its reach by `Site.dilation`, or reaches the
      whole map anyway. A backbone that is asked for a smaller output stride refuses the others.
    - `supports_torchscript`, `supports_fx` (default False, not declared): `torch.jit.script` and
      `torch.fx.symbolic_trace` take it and the outputs stay the same. (`Annotated` belongs in the
      constructor only: TorchScript refuses it on the class.)
    - `requires` (default `()`): device types that it needs, a tuple; allowed is "cuda". It must
      still run on the meta device. Elsewhere its checks are SKIPPED, `mixer: any` leaves it out,
      and measuring or training a backbone that names it is refused with exit code 4.

    and methods, each optional:

    - `allows(site, *, ...options) -> str | None`, a static or class method: a reason if these
      options do not go with the site, else None. It takes every option that the constructor takes.
      It is called before anything is built, so that no candidate of a search is spent on the
      combination; the constructor is not called if it gives a reason, and must succeed if it gives
      none. A constructor may raise ValueError instead, naming the option.
    - `no_weight_decay(self) -> set[str]`: names of its parameters that optimizers should not decay,
      as timm's models have it. Parameters of one dimension and biases never decay.
    - `init_non_persistent_buffers(self) -> None`: computes its non-persistent buffers again, on the
      device where they are, as timm's modules have it. Required of a mixer with such buffers, since
      `from_pretrained` of transformers builds a model on the meta device and restores only what a
      state dict holds.

    One thing is declared by the instance, as an attribute or a property, since it depends on the
    options:

    - `receptive_field` (not declared by default): `tuple[int, int]`, how many positions in height
      and in width one output may depend on at most, dilation included; `(site.height,
      site.width)` for the whole map.

    Two things are declared where they are needed:

    - `macs(self) -> int`, a method: the multiply-accumulates for one image at the site, if the
      mixer computes by operators that torch's counter does not know or by elementwise products.
      The larger of this and of what torch counts is what a spec, a budget and a record have.
    - `expected_failed_checks: dict[str, str]`, on the class: checks of the conformance suite that
      the mixer fails, each with the reason; they are shown as XFAIL and fail nothing.

    `mixers.conformance` checks all of this.
    """

    def __call__(self, x: Tensor) -> Tensor: ...

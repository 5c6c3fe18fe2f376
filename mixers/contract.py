"""What a token mixer is, and what it learns about the place where it stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Site:
    """Where a mixer stands in a backbone.

    `channels`, `height` and `width` are those of the mixer's input and output. `stage` and
    `block` count from 0. `occurrence` counts, from 0, the blocks of this stage that use the
    same mixer: shifted windows alternate over it, so that a pattern with other mixers between
    still alternates. `dilation` is above 1 where the backbone trades stride for dilation.
    """

    channels: int
    height: int
    width: int
    stage: int = 0
    block: int = 0
    occurrence: int = 0
    dilation: int = 1

    def __post_init__(self) -> None:
        for name in ("channels", "height", "width", "dilation"):
            if getattr(self, name) < 1:
                raise ValueError(f"Site.{name}: got {getattr(self, name)}; allowed: 1 or more")
        for name in ("stage", "block", "occurrence"):
            if getattr(self, name) < 0:
                raise ValueError(f"Site.{name}: got {getattr(self, name)}; allowed: 0 or more")


class Mixer(Protocol):
    """A module that moves information between positions: (B, C, H, W) -> (B, C, H, W).

    A mixer is an `nn.Module` whose constructor takes the site first and then keyword-only,
    annotated, defaulted options:

        def __init__(self, site: Site, *, kernel_size: Annotated[int, Choice(3, 5, 7)] = 7): ...

    It initialises its own weights. What it declares beside options stands in plain class
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

    One thing is declared by the instance, as an attribute or a property, since it depends on the
    options:

    - `receptive_field` (not declared by default): `tuple[int, int]`, how many positions in height
      and in width one output may depend on at most, dilation included; `(site.height,
      site.width)` for the whole map.

    `mixers.conformance` checks all of this.
    """

    def __call__(self, x: Tensor) -> Tensor: ...

"""A mixer with an option of every type."""

from __future__ import annotations

from enum import Enum, IntEnum, StrEnum
from typing import Annotated, Literal, Optional

from torch import Tensor, nn

from mixers import Choice, Site


class Reduction(Enum):
    SUM = "sum"
    MEAN = "mean"


class Size(IntEnum):
    SMALL = 3
    LARGE = 5


class Padding(StrEnum):
    ZEROS = "zeros"
    REFLECT = "reflect"


class Varied(nn.Module):
    """An option of each type; the Enum's members reach the constructor."""

    def __init__(
        self,
        site: Site,
        *,
        mode: Literal["sum", "mean"] = "sum",
        flag: bool = True,
        window: Annotated[int | None, Choice(None, 3, 5)] = None,
        reduction: Reduction = Reduction.SUM,
        size: Annotated[Size, Choice(Size.SMALL, Size.LARGE)] = Size.LARGE,
        padding: Padding | None = None,
        cap: Optional[Literal[1, 2]] = 2,  # noqa: UP045 -- authors write it
    ) -> None:
        super().__init__()
        assert isinstance(reduction, Reduction)
        assert isinstance(size, Size)
        assert padding is None or isinstance(padding, Padding)
        self.conv = nn.Conv2d(site.channels, site.channels, int(size), padding=int(size) // 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)

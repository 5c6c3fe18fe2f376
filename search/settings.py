"""Base class and number types of the sections of a study file."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Size = Annotated[int, Field(strict=True, ge=4, le=8192)]
BatchSize = Annotated[int, Field(strict=True, ge=1, le=1_000_000)]
PositiveNumber = Annotated[float, Field(strict=True, gt=0)]
Count = Annotated[int, Field(strict=True, ge=1)]


class Section(BaseModel):
    """A section of a study file: frozen, without unknown keys, infinities and NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

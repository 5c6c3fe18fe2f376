from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from mixers import Site

GOLDEN = Path(__file__).parents[1] / "golden"


def test_the_sites_fields_are_those_of_the_golden_file() -> None:
    fields = {field.name: str(field.type) for field in dataclasses.fields(Site)}
    assert fields == json.loads((GOLDEN / "site.json").read_text())


@pytest.mark.parametrize("field", ["channels", "height", "width", "dilation"])
def test_a_site_has_positive_sizes(field: str) -> None:
    sizes = {"channels": 1, "height": 1, "width": 1, field: 0}
    with pytest.raises(ValueError, match=f"Site.{field}: got 0"):
        Site(**sizes)


def test_a_site_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Site(1, 1, 1).channels = 2  # type: ignore[misc]

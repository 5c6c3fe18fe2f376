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


def test_a_site_that_states_its_map_alone_is_in_the_smallest_network_that_has_its_block() -> None:
    site = Site(8, 4, 4, stage=1, block=2)
    assert (site.stage_depth, site.network_block, site.network_depth) == (3, 2, 3)
    assert Site(8, 4, 4).network_depth == 1
    assert dataclasses.replace(site, network_block=7, network_depth=12).network_depth == 12


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"drop_path": 1.0}, "Site.drop_path: got 1.0; allowed: 0 or more and below 1"),
        ({"drop_path": -0.1}, "Site.drop_path: got -0.1"),
        ({"block": 3, "stage_depth": 3}, "Site.stage_depth: got 3; allowed: 4 or more"),
        ({"block": 3, "network_block": 2}, "Site.network_block: got 2; allowed: 3 or more"),
        ({"network_block": 5, "network_depth": 5}, "Site.network_depth: got 5; allowed: 6 or"),
    ],
)
def test_depths_and_rates_of_a_site_go_together(fields: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Site(8, 4, 4, **fields)  # type: ignore[arg-type]

from __future__ import annotations

import os
import random
import subprocess
import sys
from typing import Annotated

import numpy as np
import pytest
import torch
from broken import broken
from torch import Tensor, nn

from mixers import Choice, FloatRange, IntRange, Site
from mixers.conformance import CHECK_NAMES, CheckRecord, Status, check_mixer
from mixers.conformance._shapes import boundary_values


def by_name(records: list[CheckRecord]) -> dict[str, CheckRecord]:
    return {record.check: record for record in records}


class Convolving(nn.Module):
    """What the mixers below have in common."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.conv = nn.Conv2d(site.channels, site.channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Leaving(Convolving):
    def forward(self, x: Tensor) -> Tensor:
        sys.exit(3)


class Refusing(Convolving):
    """Heads must divide the channels, and the map must be even."""

    def __init__(
        self, site: Site, *, heads: Annotated[int, Choice(1, 2, 5, 7)] = 1, **_none: int
    ) -> None:
        super().__init__(site)


class Choosy(Convolving):
    def __init__(self, site: Site, *, heads: Annotated[int, Choice(2, 5, 7, 11)] = 2) -> None:
        super().__init__(site)
        if site.height % 2:
            raise ValueError(f"maps of an odd height, {site.height}, cannot be halved")
        if site.channels % heads:
            raise ValueError(f"heads: got {heads}; {site.channels} cannot be divided by it")


class Curt(Convolving):
    def __init__(self, site: Site) -> None:
        super().__init__(site)
        if site.height == 9:
            raise ValueError("no")


class Nowhere(Convolving):
    def __init__(self, site: Site, *, heads: Annotated[int, Choice(1, 2)] = 1) -> None:
        super().__init__(site)
        raise ValueError(f"channels: got {site.channels}; allowed: 1000")


class Clumsy(Convolving):
    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.size = site.chanels  # type: ignore[attr-defined]  # the mistake


class NamesLikeOurs(Convolving):
    """Its options have the names of parameters inside the suite."""

    def __init__(
        self,
        site: Site,
        *,
        seed: Annotated[int, Choice(0, 1)] = 0,
        dtype: Annotated[str, Choice("a", "b")] = "a",
        options: Annotated[bool, Choice(False, True)] = False,
    ) -> None:
        super().__init__(site)


class Careless(Convolving):
    """Changes all that a process shares, whenever it can."""

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        random.seed(0)
        np.random.seed(0)
        torch.manual_seed(0)
        torch.set_num_threads(3)
        torch.use_deterministic_algorithms(True)
        os.environ["CARELESS"] = "1"

    def forward(self, x: Tensor) -> Tensor:
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        return self.conv(x)


def test_what_one_check_raises_never_stops_the_others() -> None:
    records = check_mixer(Leaving)
    assert [record.check for record in records] == list(CHECK_NAMES)
    found = by_name(records)
    assert found["shapes"].status is Status.FAILED
    assert "SystemExit: 3, at " in found["shapes"].detail
    assert "test_suite.py" in found["shapes"].detail
    assert "in forward: sys.exit(3)" in found["shapes"].detail
    assert found["signature"].status is Status.PASSED


def test_a_class_that_is_no_module_fails_at_the_door_and_nothing_else_is_said() -> None:
    found = by_name(check_mixer(int))
    assert found["signature"].detail == "<class 'int'> is not a class of torch.nn.Module"
    assert {record.status for name, record in found.items() if name != "signature"} <= {
        Status.SKIPPED,
        Status.PASSED,
    }


def test_a_signature_that_cannot_be_read_skips_what_needs_its_options() -> None:
    found = by_name(check_mixer(Refusing, only=["signature", "options", "shapes"]))
    assert found["signature"].status is Status.FAILED
    assert "**_none" in found["signature"].detail
    assert found["options"].status is found["shapes"].status is Status.SKIPPED


def test_a_refusal_that_names_the_option_or_the_site_is_legitimate() -> None:
    found = by_name(check_mixer(Choosy, only=["shapes", "options", "gradients_fp32"]))
    assert {record.status for record in found.values()} == {Status.PASSED}
    assert "9×6 (maps of an odd height, 9, cannot be halved)" in found["shapes"].detail
    assert found["options"].detail == "4 values; refused at every site: heads=5, heads=7, heads=11"


def test_a_refusal_that_names_nothing_fails() -> None:
    found = by_name(check_mixer(Curt, only=["shapes", "gradients_fp32"]))
    assert found["shapes"].status is Status.FAILED
    assert (
        "default options at 48 channels on a map of 9×6: ValueError: no" in found["shapes"].detail
    )
    assert "must name the option" in found["shapes"].detail
    assert found["gradients_fp32"].status is Status.PASSED


def test_default_options_must_work_at_one_site_at_least() -> None:
    found = by_name(check_mixer(Nowhere))
    assert found["options"].status is Status.FAILED
    assert "the default options are refused at every site" in found["options"].detail
    assert "channels: got 64; allowed: 1000" in found["options"].detail
    failed = [name for name, record in found.items() if record.status is Status.FAILED]
    assert failed == ["options"]


def test_a_mistake_in_the_constructor_is_told_with_its_line() -> None:
    found = by_name(check_mixer(Clumsy, only=["shapes", "determinism"]))
    assert "AttributeError: 'Site' object has no attribute 'chanels'" in found["shapes"].detail
    assert "self.size = site.chanels" in found["shapes"].detail
    assert found["determinism"].status is Status.SKIPPED


def test_options_may_have_any_name() -> None:
    found = check_mixer(NamesLikeOurs, only=["signature", "options", "shapes", "state_dict"])
    assert {record.status for record in found} == {Status.PASSED}


def shared_state() -> list[object]:
    return [
        random.getstate(),
        np.random.get_state()[1].tolist(),  # type: ignore[index,union-attr]
        torch.get_rng_state().tolist(),
        torch.get_num_threads(),
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        torch.are_deterministic_algorithms_enabled(),
        dict(os.environ),
    ]


def test_the_process_is_left_as_it_was_even_by_a_careless_mixer() -> None:
    before = shared_state()
    found = by_name(check_mixer(Careless))
    assert shared_state() == before
    words = found["side_effects"].detail
    for part in ("python's random state", "numpy's", "number of threads", "os.environ"):
        assert part in words


def test_the_callers_own_settings_do_not_decide_a_check() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        with torch.no_grad():
            records = check_mixer(Convolving)
            assert not torch.is_grad_enabled()
        assert torch.get_default_dtype() is torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert [record for record in records if record.status is Status.FAILED] == []


def test_only_runs_what_it_names_in_the_suites_order() -> None:
    records = check_mixer(broken("shapes"), only=["options", "shapes"])
    assert [record.check for record in records] == ["shapes", "options"]


def test_a_name_of_no_check_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="only: shape: no such check; .* did you mean shapes"):
        check_mixer(Convolving, only=["shape"])


def test_a_record_survives_its_way_as_data() -> None:
    record = CheckRecord("shapes", Status.FAILED, "words")
    assert record.to_data() == {"check": "shapes", "status": "FAILED", "detail": "words"}
    assert CheckRecord.from_data(record.to_data()) == record


def test_the_values_tried_are_all_of_a_choice_and_ends_and_middle_of_a_range() -> None:
    assert boundary_values(Choice("auto", False, True, 2)) == ["auto", False, True, 2]
    assert boundary_values(IntRange(1, 10, 3)) == [1, 4, 10]
    assert boundary_values(IntRange(2, 64, search=(7,))) == [2, 33, 64, 7]
    assert boundary_values(FloatRange(0, 1)) == [0.0, 0.5, 1.0]
    assert boundary_values(FloatRange(0.0, 0.9, step=0.3)) == pytest.approx([0.0, 0.3, 0.9])


def test_importing_mixers_or_the_parents_side_imports_no_torch() -> None:
    code = (
        "import sys, mixers, mixers.conformance.supervised; "
        "from mixers.conformance import CHECK_NAMES, CheckRecord, check_in_child; "
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


class CopiedBadly(Convolving):
    def forward(self, x: Tensor) -> Tensor:
        self.last = self.conv(x)
        return self.last


def test_where_torch_and_python_raise_no_line_of_theirs_is_shown_as_the_authors() -> None:
    (record,) = check_mixer(CopiedBadly, only=["deepcopy"])
    assert record.status is Status.FAILED
    assert "deepcopy protocol" in record.detail
    assert ", at " not in record.detail

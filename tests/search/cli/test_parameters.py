from __future__ import annotations

import click
import pytest

from search.cli.parameters import CudaDevices


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("0", ("cuda:0",)),
        ("cuda:1", ("cuda:1",)),
        ("0-3", ("cuda:0", "cuda:1", "cuda:2", "cuda:3")),
        ("2, 0", ("cuda:2", "cuda:0")),
        ("0-1,cuda:5", ("cuda:0", "cuda:1", "cuda:5")),
        ("cuda:1-2", ("cuda:1", "cuda:2")),
    ],
)
def test_numbers_and_ranges_name_cuda_devices(text: str, names: tuple[str, ...]) -> None:
    assert CudaDevices().convert(text, None, None) == names


@pytest.mark.parametrize(
    "text", ["", "cpu", "auto", "cuda", "0,", "3-1", "-1", "0:1", "1e3", "0;1"]
)
def test_anything_else_is_refused_with_examples(text: str) -> None:
    with pytest.raises(click.BadParameter, match="such as 0-3, 0,2 or cuda:1"):
        CudaDevices().convert(text, None, None)


def test_a_device_that_is_named_twice_is_refused() -> None:
    with pytest.raises(click.BadParameter, match="each device once"):
        CudaDevices().convert("0-2,1", None, None)

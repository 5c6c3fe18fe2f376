from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from search.throughput import MeasurementProtocol
from search.throughput.workload import make_step


class Net(nn.Module):
    """One frame of code, so that nothing is left to compile when Dynamo gives it up."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width, 3, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, self.weight).mean((2, 3))


@pytest.mark.parametrize("mode", ["infer", "train"])
def test_every_candidate_is_compiled_however_many_came_before(
    mode: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dynamo gives up on code that it compiled eight times, and all backbones share their code."""
    graphs: list[Any] = []
    compile_model = torch.compile

    def backend(graph: Any, _inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", lambda model: compile_model(model, backend=backend))
    protocol = MeasurementProtocol(mode=mode, batch_size=2, image_size=4, compile=True)
    compiled = []
    kept = []  # as backbones are by their reference cycles, until they are collected
    with torch._dynamo.config.patch(recompile_limit=8):  # the default outside of tests
        for width in range(1, 13):
            before = len(graphs)
            kept.append(make_step(Net(width), protocol, torch.device("cpu")))
            kept[-1]()
            compiled.append(len(graphs) > before)
    assert all(compiled), compiled

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from fake_nvml import UUID, FakeNvml


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    """That of the first CUDA device, in which this process computes nothing."""
    properties = SimpleNamespace(uuid=UUID)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _device: properties)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _device: 0)
    return FakeNvml()

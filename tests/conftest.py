from __future__ import annotations

import os

import pytest
import torch

from mixers import MixerRegistry
from search.throughput.sensors import CpuSensors, Reading

os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the processes that tests start
torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture(scope="session")
def registry() -> MixerRegistry:
    """The mixers of the installed project, whatever the working directory says of plug-ins."""
    from importlib.metadata import entry_points

    from mixers._registry import registry_of
    from mixers.plugins_file import PluginRules
    from mixers.scan import GROUP

    own = [p for p in entry_points(group=GROUP) if p.dist and p.dist.name == "metaformer-search"]
    return registry_of(own, PluginRules())


@pytest.fixture(autouse=True)
def _no_co_tenants(monkeypatch: pytest.MonkeyPatch) -> None:
    """What else the machine computes must not decide a test: nobody looks for it."""
    monkeypatch.setattr(CpuSensors, "read", lambda _self: Reading())


@pytest.fixture(autouse=True)
def _own_leases(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests that run next to each other do not wait for each other."""
    leases = tmp_path_factory.mktemp("leases")
    monkeypatch.setattr("search.device_lease.lease.shared_folder", lambda: leases)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was measured before must not decide a test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(autouse=True)
def _own_consent(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests neither read nor change which code the user has agreed to run."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))


@pytest.fixture(autouse=True)
def _empty_working_directory(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each test stands in an empty folder, so that none depends on the repository's own files."""
    monkeypatch.chdir(tmp_path_factory.mktemp("cwd"))

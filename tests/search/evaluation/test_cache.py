"""When a measurement on file answers a question, and when it is never kept."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from search.evaluation import _cache as cache
from search.evaluation._cache import cache_key
from search.evaluation.model_source import ModelSource
from search.throughput import MeasurementProtocol


def build(_size: int, _device: Any) -> torch.nn.Module:
    raise AssertionError


MIXER = {"name": "a/b", "origin": "index", "files": "1"}
SUBJECT = ModelSource("x", "d", 8, 3, build, mixers=[MIXER])
DEVICE = {"device_name": "one", "host": "h"}


@pytest.fixture(autouse=True)
def _installed_from_an_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "install_origin", lambda _own: "index")
    monkeypatch.setattr(cache, "files_digest", lambda _own: "f")


def test_the_key_depends_on_network_code_protocol_budget_and_device() -> None:
    keys = [
        cache_key(SUBJECT, MeasurementProtocol(), 1.0, DEVICE),
        cache_key(replace(SUBJECT, digest="e"), MeasurementProtocol(), 1.0, DEVICE),
        cache_key(
            replace(SUBJECT, mixers=[{**MIXER, "files": "2"}]), MeasurementProtocol(), 1.0, DEVICE
        ),
        cache_key(SUBJECT, MeasurementProtocol(batch_size=2), 1.0, DEVICE),
        cache_key(SUBJECT, MeasurementProtocol(), 2.0, DEVICE),
        cache_key(SUBJECT, MeasurementProtocol(), 1.0, {**DEVICE, "device_name": "two"}),
        cache_key(SUBJECT, MeasurementProtocol(), 1.0, {**DEVICE, "host": "elsewhere"}),
    ]
    assert None not in keys
    assert len(set(keys)) == len(keys)


def test_what_changes_from_moment_to_moment_is_not_in_the_key() -> None:
    now = cache_key(SUBJECT, MeasurementProtocol(), 1.0, {**DEVICE, "load_average": 0.5})
    assert now == cache_key(SUBJECT, MeasurementProtocol(), 1.0, DEVICE)


@pytest.mark.parametrize("origin", ["editable file:///x", "file /x/mine.py"])
def test_code_that_may_change_unseen_is_never_kept(origin: str) -> None:
    changing = replace(SUBJECT, mixers=[{**MIXER, "origin": origin}])
    assert cache_key(changing, MeasurementProtocol(), 1.0, DEVICE) is None


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"verdict": null}', '{"verdict": "PASS", "name": "x"}', "[" * 100_000]
)
def test_an_entry_that_is_no_record_is_none(text: str) -> None:
    cache.cache_folder().mkdir(parents=True)
    (cache.cache_folder() / "key.json").write_text(text)
    assert cache.read_cached("key") is None

from __future__ import annotations

import pytest

from metaformer._key_templates import translate


@pytest.mark.parametrize(
    ("key", "source", "target", "expected"),
    [
        ("stem.0.weight", "stem.0.{rest}", "stem.conv.{rest}", "stem.conv.weight"),
        ("a.3.b.12.w", "a.{i}.b.{j}.{rest}", "c.{j}.{i}.{rest}", "c.12.3.w"),
        ("layer1.3.w", "layer{i+1}.{j+1}.{rest}", "s.{i}.b.{j}.{rest}", "s.0.b.2.w"),
        ("s.0.b.2.w", "s.{i}.b.{j}.{rest}", "layer{i+1}.{j+1}.{rest}", "layer1.3.w"),
        ("layer1.0.w", "layer{i+1}.{j+1}.{rest}", "x.{i}.{j}.{rest}", None),
        ("layerX.1.w", "layer{i+1}.{j+1}.{rest}", "x.{i}.{j}.{rest}", None),
        ("stem.0.weight", "stem.1.{rest}", "x.{rest}", None),
        ("stemX0.weight", "stem.0.{rest}", "x.{rest}", None),
    ],
)  # fmt: skip
def test_a_key_goes_through_templates(
    key: str, source: str, target: str, expected: str | None
) -> None:
    assert translate(key, source, target) == expected

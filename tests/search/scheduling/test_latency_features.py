from __future__ import annotations

from metaformer import load_spec
from search.scheduling.latency_features import describe


def test_a_backbone_is_described_by_its_blocks() -> None:
    spec = load_spec("caformer_s18")
    last = describe(spec).parts[-1]
    assert describe(spec).widths == (64, 128, 320, 512)
    assert last["block"] == 3
    assert last["mixer=attention"] == 3
    assert last["mlp.ratio"] == 12
    assert last["block=metaformer"] == 3

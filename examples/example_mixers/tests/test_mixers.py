from __future__ import annotations

from collections.abc import Callable

import torch
from example_mixers.gated_large_kernel import GatedLargeKernel
from example_mixers.linear_attention import LinearAttention

from mixers import Site
from mixers.conformance import parametrize_with_checks


@parametrize_with_checks(GatedLargeKernel)
def test_gated_large_kernel_keeps_the_contract(check: Callable[[], None]) -> None:
    check()


@parametrize_with_checks(LinearAttention)
def test_linear_attention_keeps_the_contract(check: Callable[[], None]) -> None:
    check()


def test_the_gate_multiplies_what_it_was_computed_from() -> None:
    mixer = GatedLargeKernel(Site(8, 6, 6))
    torch.nn.init.zeros_(mixer.gate.weight)
    torch.nn.init.ones_(mixer.gate.bias)  # a gate that is open everywhere
    x = torch.randn(2, 8, 6, 6)
    expected = mixer.leave(torch.nn.functional.gelu(mixer.enter(x)))
    torch.testing.assert_close(mixer(x), expected)


def test_linear_attention_is_equation_5_written_out() -> None:
    torch.manual_seed(0)
    mixer = LinearAttention(Site(16, 3, 4), head_width=8).double()
    torch.nn.init.normal_(mixer.qkv.weight)
    x = torch.randn(1, 16, 3, 4, dtype=torch.float64)
    tokens = x[0].flatten(1).T  # (12, 16)
    query, key, value = mixer.qkv(tokens).reshape(12, 3, 2, 8).unbind(1)
    query, key = (torch.where(t > 0, t + 1, t.exp()) for t in (query, key))
    mixed = torch.empty(12, 2, 8, dtype=torch.float64)
    for head in range(2):
        for i in range(12):
            similar = torch.stack([query[i, head] @ key[j, head] for j in range(12)])
            mixed[i, head] = (similar[:, None] * value[:, head]).sum(0) / similar.sum()
    expected = mixer.project(mixed.flatten(1)).T.reshape(1, 16, 3, 4)
    torch.testing.assert_close(mixer(x), expected, rtol=1e-6, atol=1e-6)

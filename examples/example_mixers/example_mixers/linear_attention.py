from __future__ import annotations

from typing import Annotated

from torch import Tensor, nn
from torch.nn import functional as F

from mixers import Choice, Site


class LinearAttention(nn.Module):
    """Attention over all H·W positions without a softmax: (B, C, H, W) -> (B, C, H, W).

    Katharopoulos et al. 2020, Transformers are RNNs (arXiv:2006.16236), eq. 5 with φ of eq. 7:
    V'_i = φ(Q_i)ᵀ Σ_j φ(K_j) V_jᵀ / φ(Q_i)ᵀ Σ_j φ(K_j), φ(x) = elu(x) + 1, every position j seen
    from every i. Its cost grows with H·W rather than with its square.
    """

    needs_normalised_input = True
    supports_dilation = True  # it sees the whole map anyway
    supports_torchscript = True
    supports_fx = True

    def __init__(
        self,
        site: Site,
        *,
        head_width: Annotated[int, Choice(8, 16, 32, 64, search=(16, 32))] = 32,
    ) -> None:
        super().__init__()
        self.head_width = head_width
        self.heads = max(1, site.channels // head_width)
        self.receptive_field = (site.height, site.width)
        inner = self.heads * head_width
        self.qkv = nn.Linear(site.channels, 3 * inner, bias=False)
        self.project = nn.Linear(inner, site.channels)
        for part in (self.qkv, self.project):
            nn.init.trunc_normal_(part.weight, std=0.02)
        nn.init.zeros_(self.project.bias)

    def forward(self, x: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        tokens = x.permute(0, 2, 3, 1).reshape(batch, height * width, -1)
        qkv = self.qkv(tokens).reshape(batch, height * width, 3, self.heads, self.head_width)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (B, heads, H·W, head_width)
        query, key = F.elu(query) + 1, F.elu(key) + 1
        weights = query @ key.sum(dim=2).unsqueeze(-1) + 1e-6  # (B, heads, H·W, 1), never 0
        mixed = query @ (key.transpose(-2, -1) @ value) / weights
        mixed = mixed.transpose(1, 2).reshape(batch, height, width, -1)
        return self.project(mixed).permute(0, 3, 1, 2)

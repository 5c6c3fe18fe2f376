from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mixers.initialization import initialise_projections
from mixers.interface import Site
from mixers.options import Choice, IntRange


class WindowAttention(nn.Module):
    """Multi-head self-attention inside windows, with a learned bias by relative position.

    (B, C, H, W) -> (B, C, H, W). Swin Transformer, eq. 4; windows shift by half their size if
    `shifted` is true. With `auto`, every second window block of the stage shifts, counted
    without the other mixers of a pattern. A window never exceeds the map it was built for; if
    it covers the map there is no shift. Maps that windows do not divide are padded with zeros.
    """

    needs_normalised_input = True
    supports_torchscript = True

    def __init__(
        self,
        site: Site,
        *,
        window: Annotated[int, IntRange(2, 64, search=(4, 7, 8))] = 7,
        head_width: Annotated[int, Choice(8, 16, 24, 32, 48, 64, search=(16, 32))] = 32,
        shifted: Annotated[bool | str, Choice("auto", False, True, search=("auto",))] = "auto",
        qkv_bias: Annotated[bool, Choice(False, True, search=(True,))] = True,
    ) -> None:
        super().__init__()
        self.head_width = head_width
        self.heads = max(1, site.channels // head_width)
        inner = self.heads * head_width
        wants_shift = site.occurrence % 2 == 1 if shifted == "auto" else bool(shifted)
        self.window = (min(window, site.height), min(window, site.width))
        self.receptive_field = self.window
        self.shift = (
            window // 2 if wants_shift and site.height > window else 0,
            window // 2 if wants_shift and site.width > window else 0,
        )
        self.map_size = (site.height, site.width)
        self.qkv = nn.Linear(site.channels, 3 * inner, bias=qkv_bias)
        self.project = nn.Linear(inner, site.channels)
        table_rows = (2 * self.window[0] - 1) * (2 * self.window[1] - 1)
        self.position_bias = nn.Parameter(torch.empty(table_rows, self.heads))
        self.position_index: Tensor
        self.mask: Tensor | None
        self.register_buffer("position_index", _position_index(*self.window), persistent=False)
        self.register_buffer("mask", self._shift_mask(*self.map_size), persistent=False)
        initialise_projections(self)
        nn.init.trunc_normal_(self.position_bias, std=0.02)

    def init_non_persistent_buffers(self) -> None:
        """Compute the index and the mask again, on their device: no state dict holds them."""
        device = self.position_index.device
        self.position_index.copy_(_position_index(*self.window, device))
        if self.mask is not None:
            mask = self._shift_mask(*self.map_size, device)
            assert mask is not None
            self.mask.copy_(mask)

    def no_weight_decay(self) -> set[str]:
        """The position table, as in Swin's recipe."""
        return {"position_bias"}

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        x = x.permute(0, 2, 3, 1)
        if any(self.shift):
            x = torch.roll(x, (-self.shift[0], -self.shift[1]), (1, 2))
        pad = (-height % self.window[0], -width % self.window[1])
        if any(pad):
            x = F.pad(x, (0, 0, 0, pad[1], 0, pad[0]))
        x = self._attend_in_windows(x, self._bias(height, width, x))
        if any(pad):
            x = x[:, :height, :width]
        if any(self.shift):
            x = torch.roll(x, self.shift, (1, 2))
        return x.permute(0, 3, 1, 2)

    def _attend_in_windows(self, x: Tensor, bias: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C); windows stand next to images, or next to heads if masked.

        Where the bias is that of every window, windows and images are one axis, which needs no
        copy of query, key and value.
        """
        batch, height, width, _ = x.shape
        rows, columns = height // self.window[0], width // self.window[1]
        windows, area = rows * columns, self.window[0] * self.window[1]
        x = x.reshape(batch, rows, self.window[0], columns, self.window[1], -1)
        x = x.transpose(2, 3).reshape(batch, windows, area, -1)
        qkv = self.qkv(x).reshape(batch, windows, area, 3, self.heads, self.head_width)
        qkv = qkv.permute(3, 0, 1, 4, 2, 5)
        first = batch * windows if bias.shape[1] == self.heads else batch
        query, key, value = qkv.reshape(3, first, -1, area, self.head_width).unbind(0)
        written_out = self.training and bias.requires_grad and x.device.type == "cpu"
        x = _attend(query, key, value, bias, written_out)
        x = x.reshape(batch, windows, self.heads, area, self.head_width)
        x = self.project(x.transpose(2, 3).reshape(batch, windows, area, -1))
        x = x.reshape(batch, rows, columns, self.window[0], self.window[1], -1)
        return x.transpose(2, 3).reshape(batch, height, width, -1)

    def _bias(self, height: int, width: int, x: Tensor) -> Tensor:
        """Relative position bias: (1, heads, area, area); with the shift's mask one for each
        window: (1, windows · heads, area, area)."""
        area = self.window[0] * self.window[1]
        bias = self.position_bias[self.position_index.flatten()].reshape(area, area, self.heads)
        bias = bias.permute(2, 0, 1).unsqueeze(0).to(x.dtype)
        if not any(self.shift):
            return bias
        built_for = (height, width) == self.map_size
        mask = self.mask if built_for else self._shift_mask(height, width, x.device)
        assert mask is not None
        return (bias + mask.to(x).unsqueeze(1)).reshape(1, -1, area, area)

    def _shift_mask(
        self, height: int, width: int, device: torch.device | None = None
    ) -> Tensor | None:
        """−100 between positions that the cyclic shift brought together; None without shift."""
        if not any(self.shift):
            return None
        rows = _regions(height, self.window[0], self.shift[0], device)
        columns = _regions(width, self.window[1], self.shift[1], device)
        region = rows[:, None] * 3 + columns[None, :]
        region = region.reshape(
            len(rows) // self.window[0], self.window[0], len(columns) // self.window[1], -1
        )
        region = region.transpose(1, 2).reshape(-1, self.window[0] * self.window[1])
        apart = region[:, :, None] != region[:, None, :]
        return torch.zeros(apart.shape, device=device).masked_fill(apart, -100.0)  # Swin's value


def _attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, written_out: bool) -> Tensor:
    """Softmax(query · keyᵀ / √width + bias) · value over the last two axes.

    `written_out` is for a bias that learns on a CPU: there no fused kernel takes it, and torch's
    own way around guards against rows that are masked as a whole, which costs and does not occur.
    """
    if written_out:
        scores = torch.matmul(query * query.shape[-1] ** -0.5, key.transpose(-2, -1)) + bias
        return torch.matmul(scores.softmax(dim=-1), value)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=bias)


def _regions(length: int, window: int, shift: int, device: torch.device | None) -> Tensor:
    """Index of the part, of three, that each padded position belongs to after the shift."""
    padded = length + -length % window
    position = torch.arange(padded, device=device)
    return (position >= padded - window).long() + (position >= padded - shift).long()


def _position_index(height: int, width: int, device: torch.device | None = None) -> Tensor:
    """(area, area): the row of the bias table for each pair of positions of a window."""
    axes = torch.arange(height, device=device), torch.arange(width, device=device)
    rows, columns = torch.meshgrid(*axes, indexing="ij")
    rows, columns = rows.flatten(), columns.flatten()
    row_distance = rows[:, None] - rows[None, :] + height - 1
    column_distance = columns[:, None] - columns[None, :] + width - 1
    return row_distance * (2 * width - 1) + column_distance

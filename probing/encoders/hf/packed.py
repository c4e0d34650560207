"""Replaces the linear layers of a model by products through oneDNN (`probing.encoders.hf.onednn`), faster on AMD processors.

Where a feed-forward net is like BERT's (in `transformers` some 140 classes are copies of its `Intermediate` and its `Output`), GELU
is computed within the product, and a residual is added in place; each saves a pass over the largest activations. A class may look
like these and do something else (`XmodSelfOutput` does not apply its norm), so the replacement is used only if it agrees with the
module on random rows. The attention of such models gets keys padded to a multiple of 16 (`_in_sixteens`).

States differ by about 1e-6 of their size, as they also do between two batch sizes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from probing.encoders.hf.onednn import lay_out, product

ROWS = 1024
"""Rows of x for which the weights are reordered."""


def pack(model: nn.Module) -> None:
    """Sends the frozen float32 linear layers of a model on the CPU, in eval mode, through oneDNN."""
    for module in model.modules():
        packed = _packed(module)
        if packed is not None:
            module.forward = packed  # an attribute of this instance: weights, names and hooks stay what they are
    shortened = False
    for module in model.modules():
        short = _short_way(module)
        if short is not None and _agree(short, module):
            module.forward, shortened = short, True
    if shortened and isinstance(model, PreTrainedModel) and model.config._attn_implementation == "sdpa":
        AttentionInterface.register(_in_sixteens.__name__, _in_sixteens)
        AttentionMaskInterface.register(_in_sixteens.__name__, sdpa_mask)
        model.set_attn_implementation(_in_sixteens.__name__)


# None of these holds the module whose `forward` it is, which would be a cycle that keeps a released model in memory.


class _Packed:
    """A linear layer with a reordered weight."""

    def __init__(self, linear: nn.Linear):
        self.weight, self.bias = linear.weight, linear.bias
        self._lay_out()

    def _lay_out(self) -> None:
        self.state, self.packed = self._now(), lay_out(self.weight.detach(), ROWS)

    def _now(self) -> tuple[int, int]:
        """Two numbers that change when the weight is written to, or replaced."""
        return 0 if self.weight.is_inference() else self.weight._version, self.weight.data_ptr()

    def __call__(self, x: torch.Tensor, gelu: bool = False) -> torch.Tensor:
        usual = x.dtype == torch.float32 and not x.requires_grad and x.numel() and x.shape[-1] == self.weight.shape[1]
        if not usual or torch.is_autocast_enabled("cpu"):
            out = functional.linear(x, self.weight, self.bias)
            return functional.gelu(out) if gelu else out
        if self._now() != self.state:  # RWKV rescales its weights in the first pass
            self._lay_out()
        return product(x, self.packed, self.bias, gelu)


def _packed(module: nn.Module) -> _Packed | None:
    if type(module) is nn.Linear and module.weight.dtype == torch.float32 and module.weight.device.type == "cpu":
        return _Packed(module)
    return None


class _Intermediate:
    """BERT's `Intermediate`: GELU of a linear layer."""

    def __init__(self, dense: _Packed):
        self.dense = dense

    def __call__(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.dense(hidden_states, gelu=True)


class _Output:
    """BERT's `SelfOutput` and `Output`: the norm of a linear layer plus the residual."""

    def __init__(self, dense: _Packed, norm: nn.Module):
        self.dense, self.norm = dense, norm

    def __call__(self, hidden_states: torch.Tensor, input_tensor: torch.Tensor) -> torch.Tensor:
        out = self.dense(hidden_states)
        same = out.dtype == input_tensor.dtype  # not so under autocast
        return self.norm(out.add_(input_tensor) if same else out + input_tensor)


def _short_way(module: nn.Module) -> _Intermediate | _Output | None:
    """The replacement of a module whose parts have the names of BERT's; None for other modules."""
    parts = dict(module.named_children())
    dense = vars(parts["dense"]).get("forward") if "dense" in parts else None
    if not isinstance(dense, _Packed):
        return None
    if parts.keys() == {"dense", "intermediate_act_fn"}:
        line = torch.linspace(-20, 20, 4001)  # GELU's approximations are up to 5e-4 away from it
        exact = torch.allclose(parts["intermediate_act_fn"](line), functional.gelu(line), rtol=0, atol=1e-6)
        return _Intermediate(dense) if exact else None
    return _Output(dense, parts["LayerNorm"]) if parts.keys() == {"dense", "LayerNorm", "dropout"} else None


@torch.no_grad()
def _agree(short: _Intermediate | _Output, module: nn.Module) -> bool:
    generator = torch.Generator().manual_seed(0)
    sizes = short.dense.weight.shape[::-1] if isinstance(short, _Output) else short.dense.weight.shape[1:]
    given = [torch.randn(1, 8, size, generator=generator) for size in sizes]  # what enters, and the residual
    return torch.allclose(short(*given), module(*given), atol=1e-5)


def _in_sixteens(
    module: nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attention_mask: torch.Tensor | None, **how: Any
) -> tuple[torch.Tensor, None]:
    """transformers' `sdpa` with keys and values (batch, heads, tokens, dim) padded to a multiple of 16 and masked there.

    torch's kernel takes 16 at a time and the rest one by one: 15 tokens cost more than 16. Less than 8 are added.
    """
    missing = -key.shape[2] % 16
    everywhere = attention_mask is None and getattr(module, "is_causal", None) is False
    masked = attention_mask is not None and attention_mask.dtype == torch.bool and attention_mask.shape[-1] == key.shape[2]
    usual = how.get("is_causal") is None and how.get("position_bias") is None and not query.requires_grad
    if 0 < missing < 8 and usual and (everywhere or masked):
        if attention_mask is not None:
            attention_mask = functional.pad(attention_mask, (0, missing))
        else:
            attention_mask = query.new_zeros(1, 1, 1, key.shape[2] + missing)
            attention_mask[..., key.shape[2] :] = -torch.inf
        key, value = (functional.pad(states, (0, 0, 0, missing)) for states in (key, value))
    return sdpa_attention_forward(module, query, key, value, attention_mask, **how)

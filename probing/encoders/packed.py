"""Linear layers through oneDNN, with weights laid out for it beforehand: the same product, faster where MKL is not at home.

torch multiplies float32 matrices on the CPU with MKL, which is tuned for Intel's processors. On AMD's (Zen 4) oneDNN's kernels,
with the weight reordered once (what torch.compile does when it freezes a model), were 8-17 % faster at the shapes of MiniLM, the
whole extraction 11 % (`results/benchmarks/extraction.md`). The sums are rounded in another order: states differ by about 1e-6 of
their size, as they also do between two batch sizes. The rule depends on the machine alone, so that a run repeats its bits.

Memory: the weights are held twice, and oneDNN compiles a kernel for every number of rows that it meets. It keeps the last 1,024
unless told otherwise (`KERNELS`), and, beyond that, parts of all of them: 0.9 MB for each number of rows of MiniLM, in place of
1.7. All sentences of xprobe-en make batches of 103 different numbers of rows. Rounding these up to multiples of 64 would end the
growth, but its copies took 7 % of the extraction's time.

Left out: other dtypes, autocast and gradients, which take torch's own way.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

ROWS = 1024
"""Rows for which the weights are laid out; any number can be multiplied."""

KERNELS = 16
"""Kernels that oneDNN may keep: a batch needs one for each shape of a weight. Read at the process's first oneDNN product."""


@cache
def pays() -> bool:
    """Whether this machine's processor is AMD's and torch has the kernels."""
    try:
        vendor = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("vendor_id")), "")
    except OSError:
        return False
    kernels = hasattr(torch.ops.mkldnn, "_linear_pointwise") and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
    return "AMD" in vendor and torch.backends.mkldnn.is_available() and kernels


def pack(model: nn.Module) -> None:
    """Sends the frozen float32 linear layers of a model on the CPU through oneDNN."""
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(KERNELS))
    for module in model.modules():
        if type(module) is nn.Linear and module.weight.dtype == torch.float32 and module.weight.device.type == "cpu":
            module.forward = _Packed(module)  # an attribute of this instance: weights, names and hooks stay what they are


class _Packed:
    """Holds the weight laid out, not the module, which would be a cycle that keeps a released model in memory."""

    def __init__(self, linear: nn.Linear):
        self.weight, self.bias = linear.weight, linear.bias
        self.packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), ROWS)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        if x.dtype != torch.float32 or x.requires_grad or not x.numel() or torch.is_autocast_enabled("cpu"):
            return functional.linear(x, self.weight, self.bias)
        return torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, "none", [], "")

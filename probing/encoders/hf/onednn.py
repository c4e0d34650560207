"""Float32 products on the CPU through oneDNN, with one factor laid out for it beforehand: faster where MKL is not at home.

torch multiplies float32 matrices with MKL, which is tuned for Intel's processors. On AMD's (Zen 4) oneDNN's kernels, with the
weight reordered once (what torch.compile does when it freezes a model), were 8-17 % faster at the shapes of MiniLM, the whole
extraction, with all of `encoders/packed.py`, 14 % (`results/benchmarks/extraction.md`), and 25-30 % faster at those of a probe
for 1,000 classes. The sums are rounded in another order. The rule depends on the machine alone, so that a run repeats its bits.

Memory: the factor is held twice, and oneDNN compiles a kernel for every number of rows that it meets. It keeps the last 1,024
unless told otherwise (`KERNELS`), and, beyond that, parts of all of them: with 32 kept, 0.9 MB for each number of rows of MiniLM,
in place of 1.7. All sentences of xprobe-en make batches of 103 different numbers of rows. Rounding these up to multiples of 64
would end the growth, but its copies took 7 % of the extraction's time.

Left out: other dtypes, autocast and gradients, which take torch's own way.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import torch

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


def lay_out(weight: torch.Tensor, rows: int) -> torch.Tensor:
    """A contiguous weight (out, in) for `product`; `rows` that it will meet at a time, a hint, any number can be multiplied."""
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(KERNELS))
    return torch.ops.mkldnn._reorder_linear_weight(weight, rows)


def product(x: torch.Tensor, laid_out: torch.Tensor, bias: torch.Tensor | None = None, gelu: bool = False) -> torch.Tensor:
    """x (rows, in), contiguous, times the weight's transpose, plus the bias, then GELU (the exact one) if told: (rows, out)."""
    return torch.ops.mkldnn._linear_pointwise(x, laid_out, bias, "gelu" if gelu else "none", [], "none")

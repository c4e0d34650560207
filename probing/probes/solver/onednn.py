"""Float32 products on the CPU through oneDNN, with the weight reordered beforehand: faster than MKL on AMD processors.

torch multiplies float32 matrices with MKL, which is tuned for Intel processors. On AMD (Zen 4) oneDNN with a reordered matrix makes
the products of a probe's step 1.3 (96 and 160 columns) to 1.5 times (1,000) as fast. The sums are rounded in another order. Whether
oneDNN is used depends on the machine alone, so a run repeats its bits.

Memory: the matrix is held twice, and oneDNN compiles a kernel for every number of rows. It keeps the last 1,024 kernels unless
`KERNELS` bounds them, and beyond that parts of all of them. Other dtypes and gradients use torch's own products.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import torch

KERNELS = 16
"""Kernels that oneDNN keeps: a batch needs one for each shape of a weight. Read at the process's first oneDNN product."""


@cache
def pays() -> bool:
    """Whether the processor is AMD's and torch has the kernels."""
    try:
        vendor = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("vendor_id")), "")
    except OSError:
        return False
    kernels = hasattr(torch.ops.mkldnn, "_linear_pointwise") and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
    return "AMD" in vendor and torch.backends.mkldnn.is_available() and kernels


def lay_out(weight: torch.Tensor, rows: int) -> torch.Tensor:
    """Reorders a contiguous weight (out, in) for `product`; `rows` is a hint: the usual number of rows of x."""
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(KERNELS))
    return torch.ops.mkldnn._reorder_linear_weight(weight, rows)


def product(x: torch.Tensor, laid_out: torch.Tensor) -> torch.Tensor:
    """x (rows, in), contiguous, times the weight's transpose: (rows, out)."""
    return torch.ops.mkldnn._linear_pointwise(x, laid_out, None, "none", [], "none")

"""Passes over the data in bfloat16, for rough solutions of many classes: only what changed since the last pass is multiplied.

A pass of a logistic regression is two products, logits = W X and gradient = (P - Y) X'. Both are linear, so that the last pass's
logits and gradient, kept in float32, need only be corrected by the products of the changes of W and of P, and it is these that are
rounded to bfloat16 (8 bits of precision). The rounding's error shrinks with the changes, as in iterative refinement (Higham 2002,
Accuracy and Stability of Numerical Algorithms, chapter 12), and what rounding left out of a change is part of the next one. What
stays is that changes are seen with rounded features: enough for the `ROUGH` tolerance of an objective of `LEAST` nats or more.

Worth it where the products are most of the work and the processor multiplies bfloat16 (AVX512-BF16, AMX): 0.14 s a pass for 0.23
(1,000 classes, 13,855 sentences x 384, one thread of Zen 4). Memory: logits and probabilities in float32, the features twice in
bfloat16.

What was tried: to round each change of P by itself, its remainder lost: line searches got stuck at 0.14 nats, as they did on values
alone where solutions were to be three times less rough. To go on to the optimum in this way, with logits and gradient renewed in
float32 and the loss made to agree with its gradient: it arrives, but in 22-32 passes for float32's 18-20, which costs what they
save. Newton's method with conjugate gradients in bfloat16: a rough solution is so far away that steps must be halved and blocks
made anew; by the count of its first three steps it would take as long as L-BFGS in float32.
"""

from __future__ import annotations

from functools import cache

import torch
from torch.nn.functional import linear

from probing.probes.lbfgs import DENSE, Matrix, Point

LEAST = 0.1
"""Nats: rough solutions of a smaller objective are made in float32."""
LIMIT = 2**30
"""Bytes that logits and probabilities may take."""
ROWS = 512
"""Sentences in a block: sums over more lose more in bfloat16; over fewer they are slower."""


@cache
def multiplies_bfloat16() -> bool:
    """Whether this machine's processor does, twice as fast as float32."""
    said = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(said.get("avx512_bf16") or said.get("amx_bf16"))


class MixedPasses:
    """Passes over the data of one label set; each goes on from where the last one was."""

    @staticmethod
    def pay(n: int, columns: int) -> bool:
        """Whether they are worth it: many columns, but not more than fit."""
        return columns > DENSE and 8 * n * columns <= LIMIT and multiplies_bfloat16()

    def __init__(self, matrix: Matrix, targets: torch.Tensor, start: Point) -> None:
        """From a pass in float32 over a matrix of turned features; targets (1, n)."""
        n = targets.shape[1]
        self._targets = targets.split(ROWS, 1)
        self._weights, self._gradient = start.weights[0].clone(), start.gradient[0] * n
        self._rows = [part.bfloat16() for part in matrix.rows.split(ROWS, 1)]
        self._across = [part.T.contiguous() for part in self._rows]
        self._logits = [torch.log_softmax(self._weights @ part, 0) for part in matrix.rows.split(ROWS, 1)]
        self._probabilities = [logits.exp() for logits in self._logits]

    def __call__(self, weights: torch.Tensor) -> Point:
        """A pass at weights (1, K, d + 1); the loss is not finite where logits have grown by more than float32's exp can bear."""
        change = (weights[0] - self._weights).bfloat16()
        self._weights += change
        loss, squares, n = torch.zeros(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64), 0
        fresh = torch.empty_like(self._logits[0])
        parts = zip(self._rows, self._across, self._logits, self._probabilities, self._targets, strict=True)
        for rows, across, logits, last, targets in parts:
            fresh = fresh if fresh.shape == last.shape else torch.empty_like(last)
            logits += linear(change, across)
            total = torch.exp(logits, out=fresh).sum(0, keepdim=True)
            fresh /= total
            loss += (total.log() - logits.gather(0, targets)).sum(dtype=torch.float64)
            squares += torch.linalg.vector_norm(fresh).double().square()
            moved = fresh.sub_(last).bfloat16()
            last += moved
            self._gradient += linear(moved, rows)
            n += targets.shape[1]
        return Point(weights, loss / n, self._gradient[None] / n, ((n - squares) / n / len(change)).float())

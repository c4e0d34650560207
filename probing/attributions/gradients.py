"""Attributions by gradients of a classifier's value F in the word vectors e of a sentence; g_i = dF/de_i at the sentence.

F, e and the baseline b are those of `word_function`. One forward and backward pass gives all but Integrated Gradients.

    gradient, -l1, -sum   L2 norm of g over the concatenated pieces of a word, sum of |g|, sum of g
    gradient-x-input      sum_d g_id e_id                                              (Shrikumar et al. 2017; b = 0)
    gradient-x-change     sum_d g_id (e_id - b_d)
    ig                    sum_d (e_id - b_d) int_0^1 dF/de_id (b + a (e - b)) da       (Sundararajan et al. 2017)
    gradcam               max(0, sum_d alpha_d A_id), alpha_d the mean of dF/dA_id over tokens, A the states of a layer
                          (Selvaraju et al. 2017, whose maps over places are tokens here)

Scores of pieces are summed to those of their word. The integral is a sum over Gauss-Legendre nodes in float64; on each part of the
path the scores must sum to the change of F there, and a part where they do not is halved.
"""

from __future__ import annotations

import numpy as np
import torch

from probing.attributions.attribution import Attribution
from probing.attributions.word_function import COST, WordFunction
from probing.encoders.gradients import at_layer, gradients
from probing.errors import ConfigError

NODES = 16
"""Gauss-Legendre nodes of a part of the path."""
MOST_NODES = 1024
"""Of a path, and 16 times as many in float64; what is not within the tolerance then keeps its gap."""
TOLERANCE, TOLERANCE_DOUBLE = 1e-3, 1e-10
"""Largest gap of Integrated Gradients as a share of F(e) - F(b); the second for an encoder in float64."""


def gradient(f: WordFunction, method: str = "gradient") -> Attribution:
    """gradient, gradient-l1, gradient-sum, gradient-x-input or gradient-x-change."""
    [slope], e = f.slopes(torch.ones(1, dtype=torch.float64))
    match method:
        case "gradient":
            return f.attribution(method, np.sqrt(f.of_words((slope**2).sum(1))))
        case "gradient-l1":
            tokens = slope.abs().sum(1)
        case "gradient-sum":
            tokens = slope.sum(1)
        case "gradient-x-input":
            tokens = (slope * e).sum(1)
        case _:
            tokens = (slope * (e - f.baseline_like(e))).sum(1)
    return f.attribution(method, f.of_words(tokens))


def integrated(f: WordFunction, tolerance: float | None = None, nodes: int | None = None) -> Attribution:
    """Integrated Gradients; `tolerance`: the largest gap, None as `TOLERANCE` has it; `nodes`: so many, with no part halved."""
    places, weight = np.polynomial.legendre.leggauss(nodes or NODES)
    places, weight = (places + 1) / 2, weight / 2
    effect, values = f.whole - f.empty, {0.0: f.empty, 1.0: f.whole}
    parts, total, done = [(0.0, 1.0)], np.zeros(f.n), 0
    while parts:
        a, b = np.array(parts).T
        slopes, e = f.slopes(torch.from_numpy((a[:, None] + (b - a)[:, None] * places).ravel()))
        change = (e - f.baseline_like(e)).double()  # (tokens, d)
        at_nodes = (slopes * change).sum(2).unflatten(0, (len(parts), -1))  # (parts, nodes, tokens)
        means = torch.einsum("pkt,k->pt", at_nodes, torch.from_numpy(weight).to(at_nodes))
        scores = np.stack([f.of_words(part) for part in means]) * (b - a)[:, None]  # (parts, words)
        gaps = np.abs(scores.sum(1) - [values[end] - values[start] for start, end in parts])
        double = e.dtype == torch.float64
        limit = abs(effect) * (tolerance or (TOLERANCE_DOUBLE if double else TOLERANCE)) / (done + len(parts))
        halved = gaps > max(limit, 16 * torch.finfo(e.dtype).eps * max(map(abs, values.values())))
        if nodes or f.rows > COST * MOST_NODES * (16 if double else 1):
            halved[:] = False
        total, done = total + scores[~halved].sum(0), done + int((~halved).sum())
        middles = ((a + b) / 2)[halved]
        values |= dict(zip(middles.tolist(), f.values(middles), strict=True))
        parts = [half for x, m, y in zip(a[halved], middles, b[halved], strict=True) for half in ((x, m), (m, y))]
    return f.attribution("ig", total, additive=True)


def gradcam(f: WordFunction, layer: int | None = None) -> Attribution:
    """Grad-CAM on the token states of a layer; None: the head's."""
    layers = len(f.encoder.dims)
    layer = f.head.layer if layer is None else layer
    if not -layers <= layer < layers:
        raise ConfigError(f"layer={layer}: {f.encoder.name} has the layers 0 to {layers - 1}, -1 is the last")
    layer %= layers
    with gradients(), at_layer(f.encoder, layer) as leaves:
        states = f.encoder.forward([f.item])
        slope = leaves.gradient(f.value(f.logits(states))[0], states.layers[layer])[0].double()  # (tokens, d)
    f.rows += COST
    counts = states.mask[0]
    alpha = slope[counts].mean(0)  # (d,)
    maps = (states.layers[layer][0].detach().double() @ alpha).clamp(min=0) * counts
    return f.attribution("gradcam", f.of_words(maps))

"""The online code whose probe is a multi-layer network, as Voita & Titov (2020) have it: ReLU layers, Adam, early stop on dev.

Early stop and schedule read dev at every epoch, so that the code counts dev as known to both sides; every block starts afresh.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.special import log_softmax

from probing.probes.codes.bits import Code, mixed
from probing.probes.codes.online import online_code
from probing.probes.hewitt_liang import Schedule, network, scores, train
from probing.types import Features, Labels, Values


def network_code(
    train_set: tuple[Features, Labels],
    dev: tuple[Features, Labels],
    n_classes: int,
    ends: Labels,
    how: tuple[Sequence[int], int, int],
) -> Code:
    """The code of labels in their order; `how`: widths of hidden layers, most epochs, seed."""
    (x, y), (hidden, epochs, seed) = train_set, how

    def block_bits(a: int, b: int) -> Values:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            schedule = Schedule(batch_items=64, batch_sentences=64, max_epoch=epochs)
            model, _ = train(network(x.shape[1], n_classes, hidden, None, 0.0), (x[:a], y[:a]), dev, schedule)
        own = log_softmax(scores(model, x[a:b]), 1)[np.arange(b - a), y[a:b]]
        return mixed(own, a, n_classes)

    return online_code(n_classes, ends, block_bits)

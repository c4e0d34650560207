"""Counterparts of a layer's neurons in other encoders, as rows of the study `neurons`; beside those of rotated directions.

The other encoder's layer is the one at the same relative depth. A neuron of random directions of the same layer has a counterpart,
too, as far as the two layers span the same; only above that is it the neuron that is shared.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from probing import config
from probing.encoders.base import Encoder
from probing.errors import ConfigError, did_you_mean
from probing.neurons.between import counterparts
from probing.neurons.curves import Basis

ROTATIONS = 3
"""Random bases of the layer whose directions are matched, too."""


def encoder_of(given: str) -> Encoder:
    """The encoder of a preset's name, or of a checkpoint's folder; ConfigError for anything else."""
    if given in config.names("encoder"):
        made: Encoder = config.build(config.read("encoder", given), "encoder")
        return made
    if not Path(given).expanduser().is_dir():
        near = did_you_mean(given, config.names("encoder"))
        raise ConfigError(f"study.others: {given!r} is neither a preset of an encoder nor a folder of probing train{near}")
    made = config.build({**config.read("encoder", "checkpoint"), "path": given}, "encoder")
    return made


def same_depth(layer: int, n: int, others: int) -> int:
    """The layer of an encoder with `others` layers at the relative depth of `layer` among n.

    >>> [same_depth(k, 7, 3) for k in range(7)]
    [0, 0, 1, 1, 1, 2, 2]
    """
    return layer if n == others else int(layer * (others - 1) / (n - 1) + 0.5) if n > 1 else others - 1


def between_row(basis: Basis, others: Mapping[str, np.ndarray], top: int, seed: int) -> dict[str, Any]:
    """One row of kind between: means over the live neurons of max_corr, min_corr and R^2 on the second half of the items, those of
    rotated directions, and the `top` neurons that are most like one in every other model. `others`: activations of the train items
    by name of the encoder."""
    held_out = np.arange(len(basis.train) // 2, len(basis.train))
    live = basis.scale.live
    own = counterparts([basis.train[:, live], *others.values()], 0, held_out)
    turned = [counterparts([basis.rotated(seed * 1000 + r).train, *others.values()], 0, held_out) for r in range(ROTATIONS)]
    best = np.flatnonzero(live)[np.argsort(-own.min_corr, kind="stable")[:top]]
    row: dict[str, Any] = {"kind": "between", "others": ", ".join(others), "n_train": len(basis.train), "live": int(live.sum())}
    for name in ("max_corr", "min_corr", "lin_reg_max", "lin_reg_min"):
        row[name] = float(getattr(own, name).mean())
        values = [float(getattr(one, name).mean()) for one in turned]
        row |= {f"{name}_rotated": float(np.mean(values)), f"{name}_rotated_sd": float(np.std(values, ddof=1))}
    return row | {"first": str(best.tolist()), "first_corr": str(np.round(np.sort(own.min_corr)[::-1][:top], 3).tolist())}

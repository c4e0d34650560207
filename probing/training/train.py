"""Trains a network on an objective and writes a checkpoint folder; loads a trained network with its head.

The folder: the files of `probing.encoders.networks.checkpoint`, and `head.safetensors`. Weights are safetensors, never pickle.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path

import torch
from torch import nn

from probing.config import build, first_target
from probing.data.readers.files import read_text
from probing.encoders.base import resolve_device
from probing.encoders.networks import checkpoint
from probing.encoders.networks.architecture import Architecture
from probing.errors import ConfigError, EncoderError
from probing.files import replace_file
from probing.log import human_seconds, info
from probing.provenance import versions
from probing.training.loop import PROGRESS, Loop, formatted
from probing.training.objective import Objective, Prepared

VERSION = 1
"""Raise when the same inputs would give other weights."""

HEAD = "head.safetensors"


def train(
    architecture: Architecture, objective: Objective, root: str | Path, home: str | Path, seed: int = 0, force: bool = False
) -> Path:
    """Train from random weights and return the checkpoint folder, a new one in `home` or the finished one.

    Args:
        root: folder (or file) of the data.
        home: folder for checkpoint folders; the name of each ends in a hash of all that determines the weights.
        force: train again if the checkpoint is finished.

    Raises:
        DataError, ConfigError: the data or the options do not fit.
        EncoderError: the loss became NaN or infinite.
    """
    if getattr(architecture, "states", ["hidden"]) != ["hidden"]:
        raise ConfigError("encoder.states is for probing: training reads the hidden states (encoder.states=[hidden])")
    prepared = objective.prepare(Path(root).expanduser(), architecture)
    inputs = {
        "version": VERSION,
        "architecture": checkpoint.preset_of(architecture),
        "objective": checkpoint.preset_of(objective),
        "data": prepared.data["sha256"],
        "seed": seed,
    }
    shape = architecture.shape | {"dropout": architecture.dropout, "pooling": architecture.pooling}
    shape["device"] = resolve_device(architecture.device)
    hashed = inputs | {"architecture": shape, "objective": inputs["objective"] | {"_target_": first_target(type(objective))}}
    key = hashlib.sha256(json.dumps(hashed, sort_keys=True).encode()).hexdigest()
    label = re.sub(r"[^\w.-]+", "_", architecture.label or architecture.KIND)
    folder = Path(home).expanduser() / f"{label}-{objective.name}-seed{seed}-{key[:8]}"
    if (folder / checkpoint.MANIFEST).is_file() and not force:
        info(f"{folder}: already trained")
        return folder
    if force and folder.is_dir():
        shutil.rmtree(folder)
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        loop = Loop(architecture, objective, prepared, folder, seed)
        loop.run()
        manifest = inputs | {"key": key, "data": prepared.data} | loop.outcome() | {"versions": versions()}
    checkpoint.save(folder, architecture, loop.model.network, prepared.vocabulary)
    checkpoint.save_tensors(folder / HEAD, {k: v for k, v in loop.model.state_dict().items() if not k.startswith("network.")})
    replace_file(folder / checkpoint.MANIFEST, json.dumps(manifest, indent=1).encode())
    (folder / PROGRESS).unlink(missing_ok=True)
    scores = f"{formatted(manifest['dev'])} on dev, {formatted(manifest['test'])} on test"
    info(f"{folder}: {scores}, {human_seconds(manifest['seconds'])}")
    return folder


def load_model(folder: str | Path, root: str | Path) -> tuple[nn.Module, Prepared]:
    """The trained network with its head, in eval mode, and the objective with its data.

    Raises:
        EncoderError: the folder is not a finished checkpoint; the data are not those it was trained on.
    """
    from safetensors.torch import load_file

    encoder = checkpoint.CheckpointEncoder(str(folder))
    try:
        manifest = json.loads(read_text(encoder.folder / checkpoint.MANIFEST, EncoderError))
    except (EncoderError, ValueError, RecursionError) as error:
        raise EncoderError(f"{folder} is not a finished checkpoint: {error}") from None
    prepared = build(manifest["objective"], "objective").prepare(Path(root).expanduser(), encoder.architecture)
    if prepared.data["sha256"] != manifest["data"]["sha256"]:
        raise EncoderError(f"{root} does not hold the data that {folder} was trained on (sha256 differs)")
    model = prepared.model(encoder.network, encoder.architecture)
    missing, unknown = model.load_state_dict(load_file(encoder.folder / HEAD), strict=False)
    if lost := [key for key in missing if not key.startswith("network.")] + unknown:
        raise EncoderError(f"{encoder.folder / HEAD} is not the head of this checkpoint: {', '.join(lost[:4])}")
    return model.eval(), prepared

"""Trains a network on an objective and writes a checkpoint folder; loads a trained network with its head.

The folder: the files of `probing.encoders.networks.checkpoint`, and `head.safetensors`. After each epoch the dev score decides
whether the weights are kept, and a file holds the whole state, so that a killed run resumes and ends with the same bytes. The same
seed gives the same weights on the same CPU and number of threads (a GPU adds in no fixed order).
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import nn

from probing.config import build, first_target
from probing.data.readers.files import read_text
from probing.encoders.base import Item, resolve_device
from probing.encoders.networks import checkpoint
from probing.encoders.networks.architecture import Architecture
from probing.encoders.networks.checkpoint import save_tensors
from probing.errors import ConfigError, EncoderError
from probing.files import atomic, replace_file
from probing.log import bar, human_seconds, info
from probing.provenance import versions
from probing.training.objective import Objective, Prepared

VERSION = 1
"""Raise when the same inputs would give other weights."""

HEAD, PROGRESS = "head.safetensors", "progress.safetensors"


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
    settings = inputs["objective"] | {"_target_": first_target(type(objective))}
    if settings.get("weights") == "none":  # younger than the names of checkpoints, which stay what they were
        del settings["weights"]
    hashed = inputs | {"architecture": shape, "objective": settings}
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
    checkpoint.save(folder, architecture, loop.network, prepared.vocabulary)
    save_tensors(folder / HEAD, {k: v for k, v in loop.model.state_dict().items() if not k.startswith("network.")})
    replace_file(folder / checkpoint.MANIFEST, json.dumps(manifest, indent=1).encode())
    (folder / PROGRESS).unlink(missing_ok=True)
    scores = f"{formatted(manifest['dev'])} on dev, {formatted(manifest['test'])} on test"
    info(f"{folder}: {scores}, {human_seconds(manifest['seconds'])}")
    return folder


def load_model(folder: str | Path, root: str | Path) -> tuple[nn.Module, Prepared]:
    """The trained network with its head, in eval mode, and the objective with its data; raises EncoderError for other data."""
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


class Loop:
    """The training of one `model`, in which `run` leaves the best weights."""

    def __init__(self, architecture: Architecture, objective: Objective, prepared: Prepared, folder: Path, seed: int):
        self.objective, self.prepared, self.file, self.seed = objective, prepared, folder / PROGRESS, seed
        self.network = architecture.network_of(prepared.vocabulary.size, seed)
        self.model = prepared.model(self.network, architecture).to(resolve_device(architecture.device))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), objective.lr, weight_decay=objective.weight_decay)
        self.state: dict[str, Any] = {"epoch": 0, "step": 0, "lr": objective.lr, "stale": 0, "best": None, "history": []}
        self.state |= {"seconds": 0.0, "cpu_seconds": 0.0}
        self.best: dict[str, torch.Tensor] = {}
        if self.file.is_file():
            self._resume()

    def run(self) -> None:
        size = sum(p.numel() for p in self.model.parameters())
        sentences, tokens = len(self.prepared.items["train"]), sum(map(len, self.prepared.items["train"]))
        per_epoch = self._timed() * tokens if self.state["epoch"] < self.objective.epochs else 0.0
        info(
            f"{self.file.parent.name}: {size / 1e6:.1f} million parameters, {sentences} sentences, {tokens} tokens; "
            f"about {human_seconds(per_epoch)} an epoch, {self.objective.epochs} at most"
            + (f"; goes on after epoch {self.state['epoch']}" if self.state["epoch"] else "")
        )
        while self.state["epoch"] < self.objective.epochs and self.state["stale"] < self.objective.patience:
            self._epoch()
        self.model.load_state_dict(self.best)

    def outcome(self) -> dict[str, Any]:
        """Scores of the best weights, with times and sizes; the only place that uses the test split."""
        sizes = {name: p.numel() for name, p in self.model.named_parameters()}
        network = {name: size for name, size in sizes.items() if name.startswith("network.")}
        return {
            "dev": self._scores("dev"),
            "test": self._scores("test"),
            "epochs": self.state["epoch"],
            "seconds": round(self.state["seconds"], 1),
            "cpu_seconds": round(self.state["cpu_seconds"], 1),
            "threads": torch.get_num_threads(),
            "parameters": {
                "network": sum(network.values()),
                "without embeddings": sum(size for name, size in network.items() if not name.startswith("network.embedding")),
                "head": sum(sizes.values()) - sum(network.values()),
            },
            "history": self.state["history"],
        }

    def _epoch(self) -> None:
        start, cpu, state = time.perf_counter(), time.process_time(), self.state
        rng = np.random.default_rng([self.seed, state["epoch"]])
        batches = batched(self.prepared.items["train"], self.objective.batch_tokens, rng)
        self.model.train()
        total, n = 0.0, 0
        with bar(f"epoch {state['epoch'] + 1}", len(batches)) as advance:
            for k, rows in enumerate(batches):
                state["step"] += 1
                left = 1 - (state["epoch"] + k / len(batches)) / self.objective.epochs if self.objective.decay == "linear" else 1.0
                for group in self.optimizer.param_groups:
                    group["lr"] = state["lr"] * left * min(1.0, state["step"] / max(1, self.objective.warmup))
                loss, count = self.prepared.loss(self.model, rows, "train", (self.seed << 32) + state["step"])
                if not torch.isfinite(loss):
                    where = f"{self.file.parent.name}, epoch {state['epoch'] + 1}"
                    raise EncoderError(f"{where}: the loss is {float(loss.detach())}; try a smaller objective.lr")
                self.optimizer.zero_grad()
                (loss / max(1, count)).backward()
                nn.utils.clip_grad_norm_(self.model.parameters(), self.objective.clip)
                self.optimizer.step()
                total, n = total + float(loss.detach()), n + count
                advance(1)
        scores = self._scores("dev")
        state["epoch"] += 1
        state["seconds"] += time.perf_counter() - start
        state["cpu_seconds"] += time.process_time() - cpu
        state["history"].append({"train_loss": total / n, "lr": state["lr"], **scores})
        if state["best"] is None or scores[self.prepared.select] > state["best"]:
            state["best"], state["stale"] = scores[self.prepared.select], 0
            self.best = {k: v.detach().cpu().clone() for k, v in self.model.state_dict().items()}
        else:
            state["stale"] += 1
            if self.objective.decay == "plateau":
                state["lr"] /= 2
        info(f"  epoch {state['epoch']}: train loss {total / n:.3f}, dev {formatted(scores)}{' *' * (not state['stale'])}")
        self._save()

    def _scores(self, split: str) -> dict[str, float]:
        self.model.eval()
        with torch.inference_mode():
            return self.prepared.scores(self.model, split, batched(self.prepared.items[split], self.objective.batch_tokens, None))

    def _timed(self) -> float:
        """Seconds per token of a forward and backward pass, on three batches; weights and random state do not change."""
        items = self.prepared.items["train"]
        first, *others = batched(items, self.objective.batch_tokens, np.random.default_rng(0))[:4]
        timed = others or [first]
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            for k, rows in enumerate([first, *timed]):
                if k == 1:  # the first pass is slower
                    start = time.perf_counter()
                loss, _ = self.prepared.loss(self.model.train(), rows, "train", 0)
                loss.backward()
        self.optimizer.zero_grad()
        return (time.perf_counter() - start) / sum(len(items[i]) for rows in timed for i in rows)

    def _save(self) -> None:
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()} | {f"best.{k}": v for k, v in self.best.items()}
        for i, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{i}.{k}": v for k, v in moments.items()}
        tensors["random"] = torch.get_rng_state()
        if torch.cuda.is_available():
            tensors["random.cuda"] = torch.cuda.get_rng_state()
        with atomic(self.file) as temporary:
            save_tensors(temporary, tensors, {"state": json.dumps(self.state)})

    def _resume(self) -> None:
        try:
            with safe_open(self.file, "pt") as file:
                tensors = {key: file.get_tensor(key) for key in file.keys()}
                self.state = json.loads(file.metadata()["state"])
        except (SafetensorError, OSError, ValueError, KeyError):
            info(f"{self.file} cannot be read: training starts again")
            return
        self.model.load_state_dict(_part(tensors, "model."))
        self.best = _part(tensors, "best.")
        moments: dict[int, dict[str, torch.Tensor]] = {}
        for key, value in _part(tensors, "optimizer.").items():
            i, _, name = key.partition(".")
            moments.setdefault(int(i), {})[name] = value
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": moments})
        torch.set_rng_state(tensors["random"])
        if "random.cuda" in tensors and torch.cuda.is_available():
            torch.cuda.set_rng_state(tensors["random.cuda"])


def batched(items: Sequence[Item], budget: int, rng: np.random.Generator | None) -> list[list[int]]:
    """Rows in batches of at most `budget` tokens, of similar lengths; in random order, or by length where `rng` is None.

    >>> batched([[1], [1, 2, 3], [1]], 4, None)
    [[0, 2], [1]]
    """
    order = np.arange(len(items)) if rng is None else rng.permutation(len(items))
    lengths = np.array([len(item) for item in items])
    batches: list[list[int]] = []
    pool = len(items) if rng is None else 100 * max(1, budget // max(1, int(lengths.mean())))
    for start in range(0, len(items), pool):  # sorted within about a hundred batches: similar lengths, another mix each epoch
        current: list[int] = []
        for i in sorted(order[start : start + pool], key=lambda i: lengths[i]):
            if current and (len(current) + 1) * lengths[i] > budget:
                batches.append(current)
                current = []
            current.append(int(i))
        batches.append(current)
    return batches if rng is None else [batches[i] for i in rng.permutation(len(batches))]


def formatted(scores: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in scores.items() if name not in ("loss", "negative log-likelihood"))


def _part(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}

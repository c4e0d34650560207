"""Trains a network on an objective: a plain loop with early stopping on dev, and a checkpoint folder at the end.

AdamW with a linear warm-up; after each epoch the dev score decides whether the weights are kept, and after `patience` epochs
without a better one the best weights are tested once and written. The step falls as the objective's `decay` says. Batches hold
sentences of like length, in an order drawn from the seed. The same seed gives the same weights on the same CPU and number
of threads (a GPU adds in no fixed order).

After every epoch `progress.safetensors` holds all that the rest depends on (weights, optimiser, best weights, random state), so a
killed run goes on and ends with the same bytes. Weights are safetensors, never pickle.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from probing.config import build
from probing.data.readers.files import read_text
from probing.encoders.base import Item, resolve_device
from probing.encoders.networks import checkpoint
from probing.encoders.networks.architecture import Architecture
from probing.errors import ConfigError, EncoderError
from probing.files import atomic, replace_file
from probing.log import bar, human_seconds, info
from probing.provenance import versions
from probing.training.objectives import Objective, Prepared

VERSION = 1
"""Raise when the same inputs would give other weights."""

PROGRESS, HEAD = "progress.safetensors", "head.safetensors"


def train(
    architecture: Architecture, objective: Objective, root: str | Path, home: str | Path, seed: int = 0, force: bool = False
) -> Path:
    """Trains from random weights and returns the checkpoint folder, a new one in `home` or the one that is already there.

    Args:
        architecture: the network's options; its weights are drawn from `seed`.
        objective: what it learns.
        root: folder (or file) of the data.
        home: where checkpoint folders go; the folder's name ends in a hash of all that determines the weights.
        force: train again what is finished.

    Raises:
        DataError, ConfigError: the data or the options do not fit.
        EncoderError: the loss became NaN or infinite.
    """
    if getattr(architecture, "states", ["hidden"]) != ["hidden"]:
        raise ConfigError("encoder.states is for probing: training reads the hidden states (encoder.states=[hidden])")
    prepared = objective.prepare(Path(root).expanduser(), architecture)
    inputs = {
        "version": VERSION,
        "architecture": _options(architecture),
        "objective": _options(objective),
        "data": prepared.data["sha256"],
        "seed": seed,
    }
    decides = architecture.shape | {"dropout": architecture.dropout, "pooling": architecture.pooling}
    decides["device"] = resolve_device(architecture.device)
    key = hashlib.sha256(json.dumps(inputs | {"architecture": decides}, sort_keys=True).encode()).hexdigest()
    label = re.sub(r"[^\w.-]+", "_", architecture.label or architecture.KIND)
    folder = Path(home).expanduser() / f"{label}-{objective.name}-seed{seed}-{key[:8]}"
    if (folder / checkpoint.MANIFEST).is_file() and not force:
        info(f"{folder}: already trained")
        return folder
    if force and folder.is_dir():
        shutil.rmtree(folder)
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        loop = _Loop(architecture, objective, prepared, folder, seed)
        loop.run()
        manifest = inputs | {"key": key, "data": prepared.data} | loop.outcome() | {"versions": versions()}
    checkpoint.save(folder, architecture, loop.model.network, prepared.vocabulary)
    _save(folder / HEAD, {k: v for k, v in loop.model.state_dict().items() if not k.startswith("network.")})
    replace_file(folder / checkpoint.MANIFEST, json.dumps(manifest, indent=1).encode())
    (folder / PROGRESS).unlink(missing_ok=True)
    info(f"{folder}: {_told(manifest['dev'])} on dev, {_told(manifest['test'])} on test, {human_seconds(manifest['seconds'])}")
    return folder


def load_model(folder: str | Path, root: str | Path) -> tuple[nn.Module, Prepared]:
    """The trained network with its head, in eval mode, and the objective with its data: to score or to explain it again.

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
        raise EncoderError(f"{folder / HEAD} is not the head of this checkpoint: {', '.join(lost[:4])}")
    return model.eval(), prepared


def batched(items: Sequence[Item], budget: int, rng: np.random.Generator | None) -> list[list[int]]:
    """Rows in batches of at most `budget` tokens, of like length; in an order drawn from `rng`, else by length.

    >>> batched([[1], [1, 2, 3], [1]], 4, None)
    [[0, 2], [1]]
    """
    order = np.arange(len(items)) if rng is None else rng.permutation(len(items))
    lengths = np.array([len(item) for item in items])
    made: list[list[int]] = []
    pool = len(items) if rng is None else 100 * max(1, budget // max(1, int(lengths.mean())))
    for start in range(0, len(items), pool):  # sorted within a hundred batches or so: like lengths, yet another mix each epoch
        current: list[int] = []
        for i in sorted(order[start : start + pool], key=lambda i: lengths[i]):
            if current and (len(current) + 1) * lengths[i] > budget:
                made.append(current)
                current = []
            current.append(int(i))
        made.append(current)
    return made if rng is None else [made[i] for i in rng.permutation(len(made))]


class _Loop:
    """One training: the model, the optimiser, and where it stands."""

    def __init__(self, architecture: Architecture, objective: Objective, prepared: Prepared, folder: Path, seed: int):
        self.objective, self.prepared, self.file, self.seed = objective, prepared, folder / PROGRESS, seed
        network = architecture.network_of(prepared.vocabulary.size, seed)
        self.model = prepared.model(network, architecture).to(resolve_device(architecture.device))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), objective.lr, weight_decay=objective.weight_decay)
        self.state: dict[str, Any] = {
            "epoch": 0,
            "step": 0,
            "lr": objective.lr,
            "stale": 0,
            "best": None,
            "history": [],
            "seconds": 0.0,
            "cpu_seconds": 0.0,
        }
        self.best: dict[str, torch.Tensor] = {}
        if self.file.is_file():
            self._resume()

    def run(self) -> None:
        size = sum(p.numel() for p in self.model.parameters())
        tokens = sum(map(len, self.prepared.items["train"]))
        per_epoch = self._timed() * tokens if self.state["epoch"] < self.objective.epochs else 0.0
        info(
            f"{self.file.parent.name}: {size / 1e6:.1f} million parameters, "
            f"{len(self.prepared.items['train'])} sentences, {tokens} tokens; "
            f"about {human_seconds(per_epoch)} an epoch, {self.objective.epochs} at most"
            + (f"; goes on after epoch {self.state['epoch']}" if self.state["epoch"] else "")
        )
        while self.state["epoch"] < self.objective.epochs and self.state["stale"] < self.objective.patience:
            self._epoch()
        self.model.load_state_dict(self.best)

    def outcome(self) -> dict[str, Any]:
        """Scores of the best weights; the test split is read here, once."""
        return {
            "dev": self._scores("dev"),
            "test": self._scores("test"),
            "epochs": self.state["epoch"],
            "seconds": round(self.state["seconds"], 1),
            "cpu_seconds": round(self.state["cpu_seconds"], 1),
            "threads": torch.get_num_threads(),
            "parameters": {
                "network": sum(p.numel() for p in self.model.network.parameters()),
                "without embeddings": sum(
                    p.numel() for n, p in self.model.network.named_parameters() if not n.startswith("embedding")
                ),
                "head": sum(p.numel() for n, p in self.model.named_parameters() if not n.startswith("network.")),
            },
            "history": self.state["history"],
        }

    def _epoch(self) -> None:
        start, cpu, state = time.perf_counter(), time.process_time(), self.state
        batches = batched(
            self.prepared.items["train"], self.objective.batch_tokens, np.random.default_rng([self.seed, state["epoch"]])
        )
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
        info(f"  epoch {state['epoch']}: train loss {total / n:.3f}, dev {_told(scores)}{' *' * (not state['stale'])}")
        self._keep()

    def _scores(self, split: str) -> dict[str, float]:
        self.model.eval()
        with torch.inference_mode():
            return self.prepared.scores(self.model, split, batched(self.prepared.items[split], self.objective.batch_tokens, None))

    def _timed(self) -> float:
        """Seconds per token of a forward and backward pass, on three batches; leaves weights and random state alone."""
        batches = batched(self.prepared.items["train"], self.objective.batch_tokens, np.random.default_rng(0))[:4]
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            for k, rows in enumerate(batches):
                if k == 1 or len(batches) == 1:
                    start, tokens = time.perf_counter(), 0
                loss, _ = self.prepared.loss(self.model.train(), rows, "train", 0)
                loss.backward()
                if k or len(batches) == 1:
                    tokens += sum(len(self.prepared.items["train"][i]) for i in rows)
        self.optimizer.zero_grad()
        return (time.perf_counter() - start) / tokens

    def _keep(self) -> None:
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()} | {f"best.{k}": v for k, v in self.best.items()}
        for i, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{i}.{k}": v for k, v in moments.items()}
        tensors["random"] = torch.get_rng_state()
        if torch.cuda.is_available():
            tensors["random.cuda"] = torch.cuda.get_rng_state()
        with atomic(self.file) as temporary:
            _save(temporary, tensors, {"state": json.dumps(self.state)})

    def _resume(self) -> None:
        from safetensors import SafetensorError, safe_open

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


def _part(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _save(path: Path, tensors: dict[str, torch.Tensor], said: dict[str, str] | None = None) -> None:
    from safetensors.torch import save_file

    save_file({key: value.detach().cpu().contiguous() for key, value in tensors.items()}, path, said)


def _options(preset: Any) -> dict[str, Any]:
    """The preset that makes the object again."""
    target = f"{type(preset).__module__}.{type(preset).__qualname__}"
    return {"_target_": target} | {field.name: getattr(preset, field.name) for field in fields(preset) if field.init}


def _told(scores: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in scores.items() if name not in ("loss", "negative log-likelihood"))

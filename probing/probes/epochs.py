"""Small networks trained for epochs, one for each label set: the probes of Adi et al. 2017 and of Holmes (Waldis et al. 2024).

    adi2017      one hidden ReLU layer as wide as the input, dropout 0.8 before the softmax layer, AdaGrad 0.01, the best dev
                 accuracy, stopped after 5 epochs without a better one (batch size and most epochs are not in the paper)
    holmes2024   dropout 0.2 on the input, one linear layer, Adam 1e-3, linear warm-up over a tenth of 20 epochs, then linear
                 decay to 0, batch 64, the best dev loss, patience 5; `softmax_twice`, as in the released code: probabilities go
                 into a cross-entropy that normalises them again, in training and on dev

Generators start from the run's seed at each fit; the global state is put back afterwards. Features are raw.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from probing.probes.base import ProbeResult, SplitFeatures, SplitLabels, check_choice, check_grid
from probing.probes.fitted import Scored
from probing.probes.path import ColumnProbe
from probing.types import Features, Values


@dataclass
class EpochProbe(ColumnProbe):
    """The protocol.

    Args:
        hidden: none (a linear probe), or input: one hidden ReLU layer as wide as the input without its constant features.
        input_dropout, dropout: rates on the input, and before the last layer where there is a hidden one.
        optimizer: adam or adagrad, at the library's defaults but for the rate `lr`.
        warmup: share of all steps in which the rate grows linearly, before it falls linearly to 0; null: the rate is constant.
        epochs: most passes over train; batch_size: sentences of a step.
        keep: accuracy or loss: the dev score that chooses the epoch whose parameters are kept.
        patience: the training stops after so many epochs without a better dev score.
        softmax_twice: see above.
    """

    name: str = "holmes2024"
    hidden: str = "none"
    input_dropout: float = 0.2
    dropout: float = 0.0
    optimizer: str = "adam"
    lr: float = 1e-3
    warmup: float | None = 0.1
    epochs: int = 20
    batch_size: int = 64
    keep: str = "loss"
    patience: int = 5
    softmax_twice: bool = True

    def __post_init__(self) -> None:
        check_choice("hidden", self.hidden, ("none", "input"))
        check_choice("optimizer", self.optimizer, ("adam", "adagrad"))
        check_choice("keep", self.keep, ("accuracy", "loss"))
        for name in ("input_dropout", "dropout", "warmup"):
            check_grid(name, [getattr(self, name) or 0.0], above=-1e-9, below=1)
        for name in ("lr", "epochs", "batch_size", "patience"):
            check_grid(name, [getattr(self, name)], above=0)

    def settings(self, task: str) -> dict[str, Any]:
        return {"estimator": "epochs", **{key: value for key, value in asdict(self).items() if key != "name"}, "version": 1}

    def seed(self, seed: int) -> int | None:
        return seed

    def fit_column(
        self, blocks: SplitFeatures, label_sets: Mapping[str, SplitLabels], task: str, n_classes: int, seed: int
    ) -> Iterator[tuple[str, ProbeResult]]:
        import torch

        for name, labels in label_sets.items():
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                network, curve, best = self._trained(blocks, labels, n_classes)
            predicted = _scores(network, blocks.test).argmax(1)
            tried = ({"epoch": best + 1, "dev_accuracy": curve[best][0], "dev_curve": curve},)
            model = partial(Scored, partial(_scores, network))
            yield name, ProbeResult(predicted, curve[best][0], {"epoch": best + 1}, tried, True, model=model)

    def _trained(self, blocks: SplitFeatures, labels: SplitLabels, n_classes: int) -> tuple[Any, list[tuple[float, float]], int]:
        """The network of the best epoch; dev accuracy (0-1) and loss (nats) after each; the number of the best, from 0."""
        import torch

        x, y = _tensor(blocks.train), torch.from_numpy(np.asarray(labels.train, np.int64))
        dev_x, dev_y = _tensor(blocks.dev), torch.from_numpy(np.asarray(labels.dev, np.int64))
        varied = int((blocks.train != blocks.train[:1]).any(0).sum())
        network = self._network(x.shape[1], varied, n_classes)
        kind = {"adam": torch.optim.Adam, "adagrad": torch.optim.Adagrad}[self.optimizer]
        optimizer = kind(network.parameters(), lr=self.lr)
        steps = self.epochs * -(-len(x) // self.batch_size)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, partial(self._factor, steps=steps))
        curve: list[tuple[float, float]] = []
        best, kept = 0, {name: value.clone() for name, value in network.state_dict().items()}
        for epoch in range(self.epochs):
            network.train()
            for rows in torch.randperm(len(x)).split(self.batch_size):
                optimizer.zero_grad()
                self._loss(network(x[rows]), y[rows]).backward()
                optimizer.step()
                schedule.step()
            with torch.inference_mode():
                scores = network.eval()(dev_x)
                curve.append((float((scores.argmax(1) == dev_y).double().mean()), float(self._loss(scores, dev_y))))
            if not epoch or self._better(curve[-1], curve[best]):
                best, kept = epoch, {name: value.clone() for name, value in network.state_dict().items()}
            elif epoch - best >= self.patience:
                break
        network.load_state_dict(kept)
        return network.eval().requires_grad_(False), curve, best

    def _network(self, width: int, varied: int, n_classes: int) -> Any:
        from torch import nn

        parts = [nn.Dropout(self.input_dropout)] if self.input_dropout else []
        if self.hidden == "none":
            return nn.Sequential(*parts, nn.Linear(width, n_classes))
        layers = [nn.Linear(width, max(1, varied)), nn.ReLU(), nn.Dropout(self.dropout), nn.Linear(max(1, varied), n_classes)]
        return nn.Sequential(*parts, *layers)

    def _factor(self, step: int, steps: int) -> float:
        """The rate of a step as a share of `lr`."""
        if self.warmup is None:
            return 1.0
        rising = max(1, round(self.warmup * steps))
        return step / rising if step < rising else max(0.0, (steps - step) / max(1, steps - rising))

    def _loss(self, scores: Any, y: Any) -> Any:
        import torch

        return torch.nn.functional.cross_entropy(scores.softmax(1) if self.softmax_twice else scores, y)

    def _better(self, one: tuple[float, float], best: tuple[float, float]) -> bool:
        return one[0] > best[0] if self.keep == "accuracy" else one[1] < best[1]


def _tensor(x: Features) -> Any:
    import torch

    return torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32))


def _scores(network: Any, x: Any) -> Values:
    """Scores of raw features (m, d), (m, K)."""
    import torch

    with torch.inference_mode():
        scores: Values = network(_tensor(x)).double().numpy()
    return scores

"""`ridge` and `labels`: the probes of numbers and of sets of labels, on the features that `fast` prepares."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from probing.errors import ConfigError
from probing.probes.base import ProbeResult, SplitFeatures, SplitLabels, agreement, check_grid, edge_of
from probing.probes.fitted import OfNumbers, OfSets
from probing.probes.path import ColumnProbe


@dataclass
class RidgePath(ColumnProbe):
    """`ridge`: ridge regression (scikit-learn's `Ridge`), the penalty with the highest dev R² (the first of equals).

    Args:
        grid: penalties (`alpha`) of the sum of squared errors on standardised features.
        standardize: unit variance, fitted on train alone; constant features are ignored either way.
    """

    name: str = "ridge"
    grid: list[float] = field(default_factory=lambda: [1e-1, 1e0, 1e1, 1e2, 1e3, 1e4, 1e5])
    standardize: bool = True
    kinds: ClassVar[tuple[str, ...]] = ("regression",)

    def __post_init__(self) -> None:
        check_grid("grid", self.grid, above=0)

    def settings(self, task: str) -> dict[str, Any]:
        return {"estimator": "ridge", "grid": sorted(self.grid), "standardize": self.standardize, "version": 1}

    def fit_column(
        self, blocks: SplitFeatures, label_sets: Mapping[str, SplitLabels], task: str, n_classes: int, seed: int
    ) -> Iterator[tuple[str, ProbeResult]]:
        from sklearn.linear_model import Ridge

        from probing.probes.logistic import Design

        design = Design.prepare(blocks.train, self.standardize)
        train, dev, test = (design.transform(x).double().numpy() for x in (blocks.train, blocks.dev, blocks.test))
        for name, labels in label_sets.items():
            models = [Ridge(alpha=alpha, solver="cholesky").fit(train, labels.train) for alpha in sorted(self.grid, reverse=True)]
            tried = tuple(
                {"alpha": model.alpha, "dev_accuracy": agreement(labels.dev, model.predict(dev)), "converged": True}
                for model in models
            )
            best = int(np.argmax([one["dev_accuracy"] for one in tried]))
            model, chosen = models[best], tried[best]
            raw = OfNumbers.undone(design, model.coef_[None], [model.intercept_])
            yield name, ProbeResult(
                model.predict(test), chosen["dev_accuracy"], {"alpha": model.alpha}, tried, True,
                edge_of(model.alpha, self.grid), design.left_out, _maker(raw),
            )  # fmt: skip


@dataclass
class LabelsPath(ColumnProbe):
    """`labels`: the logistic regression of `fast` for each label of a set; all labels share the C with the highest mean F1 of dev
    sentences (the first of equals). A label is predicted where its probability is above one half.

    Args:
        grid: values of C, in scikit-learn's scale.
        standardize: unit variance, fitted on train alone; constant features are ignored either way.
    """

    name: str = "labels"
    grid: list[float] = field(default_factory=lambda: [1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0])
    standardize: bool = True
    kinds: ClassVar[tuple[str, ...]] = ("multilabel",)

    def __post_init__(self) -> None:
        check_grid("grid", self.grid, above=0)

    def settings(self, task: str) -> dict[str, Any]:
        return {"estimator": "logistic, label by label", "grid": sorted(self.grid), "standardize": self.standardize, "version": 1}

    def fit_column(
        self, blocks: SplitFeatures, label_sets: Mapping[str, SplitLabels], task: str, n_classes: int, seed: int
    ) -> Iterator[tuple[str, ProbeResult]]:
        from probing.probes.logistic import Design, fit_paths

        design, grid = Design.prepare(blocks.train, self.standardize), sorted(self.grid)
        z_dev, z_test = design.transform(blocks.dev), design.transform(blocks.test)
        for name, labels in label_sets.items():
            at_each_C = list(zip(*fit_paths(design, list(labels.train.T), 2, grid), strict=True))
            tried = tuple(
                {
                    "C": fits[0].C,
                    "dev_accuracy": agreement(labels.dev, np.stack([fit.predict(z_dev) for fit in fits], 1)),
                    "converged": all(fit.converged for fit in fits),
                }
                for fits in at_each_C
            )
            best = int(np.argmax([one["dev_accuracy"] for one in tried]))
            fits, chosen = at_each_C[best], tried[best]
            raw = OfSets.undone(
                design, np.stack([np.asarray(fit.weights)[:-1, 0] for fit in fits]), [float(fit.weights[-1]) for fit in fits]
            )
            yield name, ProbeResult(
                np.stack([fit.predict(z_test) for fit in fits], 1), chosen["dev_accuracy"], {"C": chosen["C"]}, tried,
                chosen["converged"], edge_of(chosen["C"], grid), design.left_out, _maker(raw),
            )  # fmt: skip


def _maker(model: Any) -> Callable[[], Any]:
    return lambda: model


def for_kind(protocol: Any, kind: str, task: str) -> Any:
    """Return the protocol for labels of a kind: itself, or instead of the preset `fast` the one for these labels.

    Raises:
        ConfigError: another protocol that does not fit such labels.
    """
    from probing.probes import load
    from probing.probes.base import kinds_of, label

    if kind in kinds_of(protocol):
        return protocol
    suited = {"regression": "ridge", "multilabel": "labels", "classification": "fast"}[kind]
    if label(protocol) == "fast":
        return load(suited)
    raise ConfigError(
        f"probe={protocol.name} fits {', '.join(kinds_of(protocol))}, but {task} is a task of kind {kind}: "
        f"probe={suited}{', or probe=fast, which gives way to it' if suited != 'fast' else ''}"
    )

"""`fast` and `sklearn`, L2 logistic regression over a path of C; and the loop over columns that most protocols have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from probing.errors import ConfigError
from probing.probes.base import (
    Fold,
    Load,
    ProbeResult,
    SplitFeatures,
    SplitLabels,
    best_of,
    check_choice,
    check_grid,
    edge_of,
)
from probing.types import Features, Representation, Values

if TYPE_CHECKING:
    from probing.probes.logistic import Design, Fit


class ColumnProbe:
    """A protocol that probes every column, one after the other, and draws nothing, unless its class says otherwise."""

    def seed(self, seed: int) -> int | None:
        return None

    def columns(self, columns: Sequence[Representation]) -> list[Representation]:
        return list(columns)

    def fit(
        self,
        load: Load,
        columns: Sequence[Representation],
        label_sets: Mapping[str, SplitLabels],
        task: str,
        n_classes: int,
        seed: int,
    ) -> Iterator[tuple[Representation, str, ProbeResult]]:
        for column in columns:
            for name, result in self.fit_column(load(column), label_sets, task, n_classes, seed):
                yield column, name, result

    def fit_column(
        self, blocks: SplitFeatures, label_sets: Mapping[str, SplitLabels], task: str, n_classes: int, seed: int
    ) -> Iterator[tuple[str, ProbeResult]]:
        """Fit one column; yield the name of each label set with its result."""
        raise NotImplementedError


@dataclass
class LogisticPath(ColumnProbe):
    """`fast` and `sklearn`: L2 logistic regression over a path of C, chosen on dev (first maximum: the strongest penalty).

    Args:
        grid: values of C, in scikit-learn's scale.
        standardize: zero mean and unit variance, fitted on train alone; constant features are ignored either way.
        solver: "lbfgs" (probing.probes.logistic) or "sklearn".
        patience: stop the path after this many values of C without a higher dev accuracy.
        by_classes: multiply each value by K - 1 for K classes.
    """

    name: str = "fast"
    grid: list[float] = field(default_factory=lambda: [1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0])
    standardize: bool = True
    solver: str = "lbfgs"
    patience: int = 2
    by_classes: bool = False

    def __post_init__(self) -> None:
        check_choice("solver", self.solver, ("lbfgs", "sklearn"))
        check_grid("grid", self.grid, above=0)
        if self.patience < 1:
            raise ConfigError(f"probe.patience={self.patience} must be at least 1")

    def settings(self, task: str) -> dict[str, Any]:
        settings = {"estimator": "logistic", "grid": sorted(self.grid), "standardize": self.standardize}
        return settings | {"solver": self.solver, "patience": self.patience, "by_classes": self.by_classes, "version": 7}

    def _values_of_C(self, n_classes: int) -> list[float]:
        return [C * (n_classes - 1) if self.by_classes else C for C in sorted(self.grid)]

    def fit_column(
        self, blocks: SplitFeatures, label_sets: Mapping[str, SplitLabels], task: str, n_classes: int, seed: int
    ) -> Iterator[tuple[str, ProbeResult]]:
        from probing.probes.logistic import Design, fit_paths

        design, grid = Design.prepare(blocks.train, self.standardize), self._values_of_C(n_classes)
        z_dev, z_test = design.transform(blocks.dev), design.transform(blocks.test)
        if self.solver == "sklearn":
            for name, labels in label_sets.items():
                path = self._sklearn_path(design, labels, z_dev.double().numpy(), grid)
                yield name, _of_raw_features(best_of(path, z_test.double().numpy(), grid, design.left_out), design)
            return
        train, dev = [labels.train for labels in label_sets.values()], [labels.dev for labels in label_sets.values()]
        for name, fits in zip(label_sets, fit_paths(design, train, n_classes, grid, (z_dev, dev), self.patience), strict=True):
            yield name, _of_raw_features(best_of(self._tried(fits), z_test, grid, design.left_out), design)

    def fit_folds(self, x: Features, folds: Sequence[Fold], n_classes: int) -> list[ProbeResult] | None:
        """Fit all folds of a cross-validation of x (n, d) at once; return a result for each, or None if the solver is
        scikit-learn's. The folds share the centring and scaling over all of x, and one C, the best on their dev sentences
        together; no dev sentence is tested in any fold (`Task.cross_validated`)."""
        from probing.probes.logistic import Design, best, fit_paths
        from probing.probes.solver.loss import NO_LABEL

        if self.solver != "lbfgs":
            return None
        design, grid = Design.prepare(x, self.standardize), self._values_of_C(n_classes)
        z = design.transform(x)
        train, dev = np.full((2, len(folds), len(x)), NO_LABEL)
        for k, fold in enumerate(folds):
            train[k, fold.train], dev[k, fold.dev] = fold.labels
        paths = fit_paths(design, list(train), n_classes, grid, (z, list(dev)), self.patience, together=True)
        chosen = best(*paths)
        results = []
        for fold, fits in zip(folds, paths, strict=True):
            fit = fits[chosen]
            assert fit.dev_accuracy is not None
            settings = tuple(setting for setting, _ in self._tried(fits))
            predicted, edge = fit.predict(z[fold.test]), edge_of(fit.C, grid)
            results.append(ProbeResult(predicted, fit.dev_accuracy, {"C": fit.C}, settings, fit.converged, edge, design.left_out))
        return results

    @staticmethod
    def _tried(fits: Sequence[Fit]) -> list[tuple[dict[str, Any], Any]]:
        names = ("C", "dev_accuracy", "converged", "exact")
        return [({name: getattr(fit, name) for name in names}, fit) for fit in fits]

    def _sklearn_path(
        self, design: Design, labels: SplitLabels, z_dev: Values, grid: Sequence[float]
    ) -> list[tuple[dict[str, Any], Any]]:
        from sklearn.linear_model import LogisticRegression

        path: list[tuple[dict[str, Any], Any]] = []
        z = design.z.double().numpy()
        for C in grid:
            model = LogisticRegression(C=C, tol=1e-5, max_iter=2000).fit(z, labels.train)
            dev = float((model.predict(z_dev) == labels.dev).mean())
            path.append(({"C": C, "dev_accuracy": dev, "converged": bool(model.n_iter_.max() < 2000)}, model))
            if np.argmax([setting["dev_accuracy"] for setting, _ in path]) + self.patience < len(path):
                break
        return path


def _of_raw_features(result: ProbeResult, design: Design) -> ProbeResult:
    """The result with a model of raw features: that of standardised ones, with centring and scaling undone."""
    from probing.probes.fitted import Linear

    assert result.model is not None
    model = result.model()

    def undone() -> Linear:
        if hasattr(model, "coef_"):
            return Linear.undone(design, model.coef_, model.intercept_)
        return Linear.undone(design, model.weights[:-1].T, model.weights[-1])

    return replace(result, model=undone)

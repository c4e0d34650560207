"""Named protocols: how a probe is fitted, tuned on dev, and scored on test, exactly and by name.

    fast            logistic regression on standardised features, L2 path over `grid`, best C on dev (ours, the default)
    sklearn         the same estimator, solved by scikit-learn: the reference of `fast`
    senteval        SentEval's torch loop: L2 grid on dev, MLP or linear (probing.probes.mlp)
    senteval-logreg SentEval's scikit-learn path: raw features, liblinear, one-vs-rest, C in 2^-2 .. 2^3 on dev
    senteval-logreg-lbfgs   the same with today's library default, lbfgs and softmax
    jawahar2019     the released probe of Jawahar et al. 2019: [CLS], 50 hidden units, four passes, no early stop

Numbers of different protocols are different measurements; `label` names the protocol and every option that was changed, and
stands in every row. A protocol fits many layers and poolings of a task and several label sets (the true labels and the control
task's) in one call, so that the solver behind it can share and batch; results come one by one, as they are ready.

SentEval sorts the train sentences by length and label before the seeded shuffling; `order=senteval` does so (see
`SplitFeatures.order`). By default the order is the file's, so that the minibatches of one seed are others.

Left out, and so deviations from the originals' code: SentEval's final refit (with its seed it repeats, on deterministic hardware, a
run that the grid has already made); the rounding of features to 6 decimals in Jawahar et al.'s files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple, Protocol

import numpy as np

from probing import config as presets
from probing.encoders.base import POOLINGS
from probing.errors import ConfigError
from probing.types import Features, Labels, Representation

ORDERS = ("file", "senteval")


class SplitFeatures(NamedTuple):
    """Features of one column, split by split.

    `order` holds the rows of train in SentEval's order: by length in tokens, then by the task's label, then as in the file
    (senteval/probing.py). It is needed by protocols with order=senteval only.
    """

    train: Features
    dev: Features
    test: Features
    order: np.ndarray | None = None


class SplitLabels(NamedTuple):
    """Class indices of train and dev; test labels are for scoring and stay outside."""

    train: Labels
    dev: Labels


class Fold(NamedTuple):
    """One fold of a cross-validation: rows of its train, dev and test sentences, and the labels of train and dev."""

    train: np.ndarray
    dev: np.ndarray
    test: np.ndarray
    labels: SplitLabels


@dataclass(frozen=True)
class ProbeResult:
    """What a probe said.

    Attributes:
        predictions: class indices of the test sentences, (n_test,).
        dev_accuracy: of the chosen hyperparameters, 0-1.
        chosen: the hyperparameters chosen on dev; of a cross-validated task lists, fold by fold.
        tried: every setting tried, with its dev accuracy, and whether it converged; where a setting that dev did not choose was
            solved roughly, `exact` is False.
        converged: of the chosen fit; True where a protocol stops by rule.
        edge: "lower end" or "upper end" where the chosen C (or L2, where nothing else is tuned) is the smallest or the largest of
            several that were allowed; of a cross-validated task where it is in any fold.
        left_out: features that the protocol left out as constant.
    """

    predictions: Labels
    dev_accuracy: float
    chosen: Mapping[str, Any]
    tried: tuple[Mapping[str, Any], ...]
    converged: bool
    edge: str = ""
    left_out: int = 0


class ProbeProtocol(Protocol):
    """A way of fitting probes. `name` is the preset's; `label` adds the options that differ from it."""

    name: str

    def settings(self, task: str) -> dict[str, Any]:
        """Everything that determines the numbers for this task, as plain JSON: part of a cell's key."""
        ...

    def seed(self, seed: int) -> int | None:
        """The seed that is used when the run's is `seed`, or None where no seed can change a number."""
        ...

    def columns(self, columns: Sequence[Representation]) -> list[Representation]:
        """Those of the columns that the protocol probes."""
        ...

    def fit(
        self,
        load: Callable[[Representation], SplitFeatures],
        columns: Sequence[Representation],
        label_sets: Mapping[str, SplitLabels],
        task: str,
        n_classes: int,
        seed: int,
    ) -> Iterator[tuple[Representation, str, ProbeResult]]:
        """Fits every column to every label set; yields each result when it is ready.

        Raises:
            DataError: features that are not finite.
        """
        ...


def label(protocol: ProbeProtocol) -> str:
    """The preset's name and the options in which the protocol differs from it, e.g. `senteval[nhid=[100]]`."""
    if protocol.name not in presets.names("probe"):  # a protocol of the user's own
        return protocol.name
    preset = presets.read("probe", protocol.name)
    changed = []
    for option in fields(protocol):  # type: ignore[arg-type]
        value = getattr(protocol, option.name)
        if value != preset[option.name]:
            changed.append(f"{option.name}={value}".replace(" ", ""))
    return protocol.name + (f"[{','.join(changed)}]" if changed else "")


def _edge(chosen: float, tried: Sequence[float]) -> str:
    """At which end of the values that were tried the chosen one stands; a path goes on beyond its best until the grid ends.

    >>> _edge(10.0, [0.1, 1.0, 10.0]), _edge(1.0, [0.1, 1.0, 10.0]), _edge(1.0, [1.0])
    ('upper end', '', '')
    """
    least, most = min(tried), max(tried)
    return "" if least == most or least < chosen < most else "lower end" if chosen == least else "upper end"


def _check_grid(name: str, values: Sequence[float], above: float, below: float = float("inf")) -> None:
    if not values or not all(above < value < below for value in values):
        bound = f"above {above:g}" + (f" and below {below:g}" if below < float("inf") else "")
        raise ConfigError(f"probe.{name}={list(values)} must hold at least one value, all {bound}")


def _check_order(order: str) -> None:
    if order not in ORDERS:
        raise ConfigError(f"probe.order={order!r} is unknown (allowed: {', '.join(ORDERS)})")


def _rows(order: str, blocks: SplitFeatures) -> np.ndarray | slice:
    """The rows of train in the order in which a probe reads them."""
    if order == "file":
        return slice(None)
    if blocks.order is None:
        raise ConfigError(
            "probe.order=senteval needs the lengths of the sentences: give SplitFeatures their order, or use order=file"
        )
    return blocks.order


@dataclass
class LogisticPath:
    """`fast` and `sklearn`: L2 logistic regression over a path of C, chosen on dev (first maximum: the strongest penalty).

    Args:
        grid: values of C, in scikit-learn's scale.
        standardize: zero mean and unit variance, fitted on train alone; constant features are left out either way, also those that
            are so beside the layer's others (`probing.probes.logistic.Design`).
        solver: "lbfgs" (probing.probes.logistic) or "sklearn".
        patience: stop the path after this many values of C without a higher dev accuracy.
        by_classes: C is each value times K - 1 for K classes: of as many sentences each class has fewer for weights of its own.
    """

    name: str = "fast"
    grid: list[float] = field(default_factory=lambda: [1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0])
    standardize: bool = True
    solver: str = "lbfgs"
    patience: int = 2
    by_classes: bool = False

    def __post_init__(self) -> None:
        if self.solver not in ("lbfgs", "sklearn"):
            raise ConfigError(f"probe.solver={self.solver!r} is unknown (allowed: lbfgs, sklearn)")
        _check_grid("grid", self.grid, above=0)
        if self.patience < 1:
            raise ConfigError(f"probe.patience={self.patience} must be at least 1")

    def settings(self, task: str) -> dict[str, Any]:
        said = {"estimator": "logistic", "grid": sorted(self.grid), "standardize": self.standardize}
        return said | {"solver": self.solver, "patience": self.patience, "by_classes": self.by_classes, "version": 6}

    def _values_of_C(self, n_classes: int) -> list[float]:
        return [C * (n_classes - 1) if self.by_classes else C for C in sorted(self.grid)]

    def seed(self, seed: int) -> int | None:
        return None  # the optimum is unique

    def columns(self, columns: Sequence[Representation]) -> list[Representation]:
        return list(columns)

    def fit(self, load, columns, label_sets, task, n_classes, seed) -> Iterator[tuple[Representation, str, ProbeResult]]:
        from probing.probes.logistic import Design, fit_paths

        for column in columns:
            blocks = load(column)
            design = Design.prepare(blocks.train, self.standardize)
            z_dev, z_test = design.transform(blocks.dev), design.transform(blocks.test)
            if self.solver == "sklearn":
                for which, labels in label_sets.items():
                    path = self._sklearn_path(design, labels, z_dev.double().numpy(), self._values_of_C(n_classes))
                    yield column, which, _best_of(path, z_test.double().numpy(), design.left_out)
                continue
            train, dev = [labels.train for labels in label_sets.values()], [labels.dev for labels in label_sets.values()]
            paths = fit_paths(design, train, n_classes, self._values_of_C(n_classes), (z_dev, dev), self.patience)
            for which, fits in zip(label_sets, paths, strict=True):
                yield column, which, _best_of(self._tried(fits), z_test, design.left_out)

    def fit_folds(self, x: Features, folds: Sequence[Fold], n_classes: int) -> list[ProbeResult] | None:
        """All folds of a cross-validation in one go, a result for each; or None where the solver has no such way.

        The folds share one C, the best on their dev sentences together (those of one fold are too few to choose by), of which none
        is tested in any fold (`Task.cross_validated`). They share the centring and scaling too, over all of x; labels are read fold
        by fold.

        Args:
            x: (n, d).
        """
        from probing.probes.logistic import Design, best, fit_paths
        from probing.probes.solver.passes import LEFT_OUT

        if self.solver != "lbfgs":
            return None
        design = Design.prepare(x, self.standardize)
        z = design.transform(x)
        train, dev = np.full((2, len(folds), len(x)), LEFT_OUT)
        for k, fold in enumerate(folds):
            train[k, fold.train], dev[k, fold.dev] = fold.labels
        paths = fit_paths(
            design, list(train), n_classes, self._values_of_C(n_classes), (z, list(dev)), self.patience, together=True
        )
        chosen = best(*paths)
        results = []
        for fold, fits in zip(folds, paths, strict=True):
            tried, fit = self._tried(fits), fits[chosen]
            predicted = fit.predict(z[fold.test])
            at = _edge(fit.C, self._values_of_C(n_classes))
            said = tuple(said for said, _ in tried)
            results.append(ProbeResult(predicted, fit.dev_accuracy, {"C": fit.C}, said, fit.converged, at, design.left_out))
        return results

    @staticmethod
    def _tried(fits) -> list[tuple[dict[str, Any], Any]]:
        return [(_tried(fit.C, fit.dev_accuracy, fit.converged) | {"exact": fit.exact}, fit) for fit in fits]

    def _sklearn_path(self, design, labels: SplitLabels, z_dev: Features, grid) -> list[tuple[dict[str, Any], Any]]:
        from sklearn.linear_model import LogisticRegression

        path: list[tuple[dict[str, Any], Any]] = []
        z = design.z.double().numpy()
        for C in grid:
            model = LogisticRegression(C=C, tol=1e-5, max_iter=2000).fit(z, labels.train)
            dev = float((model.predict(z_dev) == labels.dev).mean())
            path.append((_tried(C, dev, bool(model.n_iter_.max() < 2000)), model))
            if np.argmax([tried["dev_accuracy"] for tried, _ in path]) + self.patience < len(path):
                break
        return path


def _tried(C: float, dev_accuracy: float, converged: bool) -> dict[str, Any]:
    return {"C": C, "dev_accuracy": dev_accuracy, "converged": converged}


def _best_of(path: Sequence[tuple[dict[str, Any], Any]], x_test: Any, left_out: int = 0) -> ProbeResult:
    """Test predictions of the model with the highest dev accuracy; the first, so the smallest C, on ties."""
    said, model = max(path, key=lambda one: one[0]["dev_accuracy"])
    tried = tuple(tried for tried, _ in path)
    predicted, C = np.asarray(model.predict(x_test)), said["C"]
    at = _edge(C, [one["C"] for one in tried])
    return ProbeResult(predicted, said["dev_accuracy"], {"C": C}, tried, said["converged"], at, left_out)


def liblinear(C: float, max_iter: int, n_classes: int) -> Any:
    """Logistic regression as scikit-learn's default was before 0.22: liblinear, one-vs-rest, the intercept penalised too."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier

    model = LogisticRegression(C=C, solver="liblinear", max_iter=max_iter, random_state=1111)
    return model if n_classes == 2 else OneVsRestClassifier(model)


@dataclass
class SentEvalLogReg:
    """`senteval-logreg`: SentEval's scikit-learn path, logistic regression on raw features, C chosen on dev.

    SentEval leaves all but C and the seed at the library's defaults. Those were liblinear, one-vs-rest with a penalised intercept,
    when its numbers were published; scikit-learn 0.22 changed them to lbfgs with softmax, which `senteval-logreg-lbfgs` has. The
    two differ most where classes are ordered, since a middle bin lies on neither side of a plane: on 2,000 train and 1,480 test
    sentences of xprobe-en (MiniLM, mean, layers 0, 3, 6) liblinear is up to 6.4 points below lbfgs in sentence_length, and within
    0.2 points in past_present and tree_depth, where up to 15 % of the predictions differ. Features are not standardised; 100
    iterations of lbfgs are often too few for raw ones, and such fits are marked as not converged. The dev accuracy is rounded to
    two decimals of a percent before the first maximum is taken.

    Args:
        solver: "liblinear" or "lbfgs".
        order: "file", or "senteval" (see `SplitFeatures.order`).
    """

    name: str = "senteval-logreg"
    grid: list[float] = field(default_factory=lambda: [0.25, 0.5, 1.0, 2.0, 4.0, 8.0])
    max_iter: int = 100
    solver: str = "liblinear"
    order: str = "file"

    def __post_init__(self) -> None:
        _check_grid("grid", self.grid, above=0)
        _check_grid("max_iter", [self.max_iter], above=0)
        _check_order(self.order)
        if self.solver not in ("liblinear", "lbfgs"):
            raise ConfigError(f"probe.solver={self.solver!r} is unknown (allowed: liblinear, lbfgs)")

    def settings(self, task: str) -> dict[str, Any]:
        said = {"estimator": "sklearn.LogisticRegression", "grid": self.grid, "max_iter": self.max_iter}
        return said | {"solver": self.solver, "order": self.order, "version": 2}

    def seed(self, seed: int) -> int | None:
        return None  # neither solver draws anything

    def columns(self, columns: Sequence[Representation]) -> list[Representation]:
        return list(columns)

    def fit(self, load, columns, label_sets, task, n_classes, seed) -> Iterator[tuple[Representation, str, ProbeResult]]:
        import warnings

        from sklearn.exceptions import ConvergenceWarning

        for column in columns:
            blocks = load(column)
            rows = _rows(self.order, blocks)
            x = blocks.train[rows]
            for which, labels in label_sets.items():
                path = []
                for C in self.grid:
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore", ConvergenceWarning)  # said in the row instead
                        model = self._model(C, n_classes).fit(x, labels.train[rows])
                    dev = round(100 * float((model.predict(blocks.dev) == labels.dev).mean()), 2) / 100
                    steps = max(int(np.max(one.n_iter_)) for one in getattr(model, "estimators_", [model]))
                    path.append((_tried(C, dev, steps < self.max_iter), model))
                yield column, which, _best_of(path, blocks.test)

    def _model(self, C: float, n_classes: int) -> Any:
        from sklearn.linear_model import LogisticRegression

        if self.solver == "liblinear":
            return liblinear(C, self.max_iter, n_classes)
        return LogisticRegression(C=C, max_iter=self.max_iter, random_state=1111)


@dataclass
class SentEvalTorch:
    """`senteval` and `jawahar2019`: the torch loop of SentEval over an L2 grid, and over nhid and dropout where lists are given.

    Args:
        nhid: hidden units to try; 0 is a linear probe. The paper tunes 50, 100, 200; the released code does not.
        dropout: rates to try; the paper tunes 0, 0.1, 0.2.
        base_seed: the seed of every fit is base_seed + the run's seed, so that seed 0 is the original's.
        early_stop: False stops after `epoch_size` passes (see `probing.probes.mlp.train`).
        linear_word_content: SentEval forces a linear probe on WordContent; Jawahar et al.'s code does not.
        poolings: only these are probed; null: all.
        embeddings: whether layer 0 is probed.
        first_appearance: number the labels in order of first appearance, not sorted.
        order: "file", or "senteval": train sentences by length and label before the seeded shuffling (see `SplitFeatures.order`).
    """

    name: str = "senteval"
    nhid: list[int] = field(default_factory=lambda: [50])
    dropout: list[float] = field(default_factory=lambda: [0.0])
    l2: list[float] = field(default_factory=lambda: [1e-5, 1e-4, 1e-3, 1e-2])
    batch_size: int = 64
    tenacity: int = 5
    epoch_size: int = 4
    max_epoch: int = 200
    base_seed: int = 1111
    early_stop: bool = True
    linear_word_content: bool = True
    poolings: list[str] | None = None
    embeddings: bool = True
    first_appearance: bool = False
    order: str = "file"

    def __post_init__(self) -> None:
        _check_grid("nhid", self.nhid, above=-1)
        _check_grid("dropout", self.dropout, above=-1e-9, below=1)
        _check_grid("l2", self.l2, above=-1e-9)
        for name in ("batch_size", "epoch_size", "max_epoch", "base_seed"):
            _check_grid(name, [getattr(self, name)], above=-1 if name == "base_seed" else 0)
        _check_order(self.order)
        for pooling in self.poolings or ():
            if pooling not in POOLINGS:
                raise ConfigError(f"probe.poolings={pooling!r} is unknown (allowed: {', '.join(POOLINGS)})")

    def _nhid(self, task: str) -> list[int]:
        return [0] if self.linear_word_content and task == "word_content" else self.nhid

    def settings(self, task: str) -> dict[str, Any]:
        nhid = self._nhid(task)
        said: dict[str, Any] = {
            "estimator": "senteval",
            "nhid": nhid,
            "dropout": self.dropout if any(nhid) else [0.0],
            "l2": self.l2,
        }
        for name in ("batch_size", "tenacity", "epoch_size", "max_epoch", "early_stop", "first_appearance", "order"):
            said[name] = getattr(self, name)
        return said | {"version": 2}

    def seed(self, seed: int) -> int | None:
        return self.base_seed + seed

    def columns(self, columns: Sequence[Representation]) -> list[Representation]:
        return [c for c in columns if (self.poolings is None or c.pooling in self.poolings) and (self.embeddings or c.layer > 0)]

    def fit(self, load, columns, label_sets, task, n_classes, seed) -> Iterator[tuple[Representation, str, ProbeResult]]:
        from probing.probes.mlp import Recipe, train_batch

        grid = [(nhid, p, l2) for nhid in self._nhid(task) for p in (self.dropout if nhid else [0.0]) for l2 in self.l2]
        shape = (self.batch_size, self.tenacity, self.epoch_size, self.max_epoch, self.early_stop)
        recipes = [Recipe(*cell, *shape) for cell in grid]
        dev = [labels.dev for labels in label_sets.values()]
        for column in columns:
            blocks = load(column)
            rows = _rows(self.order, blocks)
            train = [labels.train[rows] for labels in label_sets.values()]
            orders = [self._order(labels, n_classes) for labels in train]  # class index of each number that the probe uses
            ys, dev_ys = (
                [np.argsort(order)[labels] for order, labels in zip(orders, split, strict=True) for _ in grid]
                for split in (train, dev)
            )
            runs = train_batch(recipes * len(orders), blocks.train[rows], ys, blocks.dev, dev_ys, n_classes, self.base_seed + seed)
            for at, (which, order) in enumerate(zip(label_sets, orders, strict=True)):
                own = runs[at * len(grid) : (at + 1) * len(grid)]
                cells = [dict(zip(("nhid", "dropout", "l2"), cell, strict=True)) for cell in grid]
                best = max(range(len(grid)), key=lambda i: round(100 * own[i].dev_accuracy, 2))  # the first maximum, as SentEval
                tried = [
                    cell | {"dev_accuracy": r.dev_accuracy, "dev_curve": list(r.curve)} for cell, r in zip(cells, own, strict=True)
                ]
                predicted = order[own[best].predict(blocks.test)]
                at = _edge(cells[best]["l2"], self.l2) if len(grid) == len(self.l2) else ""  # a grid of L2 alone
                yield column, which, ProbeResult(predicted, own[best].dev_accuracy, cells[best], tuple(tried), True, at)

    def _order(self, labels: Labels, n_classes: int) -> Labels:
        """The classes in the order in which the probe numbers them."""
        order = np.arange(n_classes)
        if not self.first_appearance:
            return order
        seen, first = np.unique(labels, return_index=True)
        return np.r_[seen[np.argsort(first)], np.setdiff1d(order, seen)]

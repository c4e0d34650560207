"""Named protocols: each says how a probe is fitted, tuned on dev, and scored on test.

    fast            logistic regression on standardised features, L2 path over `grid`, best C on dev (ours, the default)
    sklearn         the same estimator, solved by scikit-learn: the reference of `fast`
    senteval        SentEval's torch loop: L2 grid on dev, MLP or linear (probing.probes.mlp)
    senteval-logreg SentEval's scikit-learn path: raw features, liblinear, one-vs-rest, C in 2^-2 .. 2^3 on dev
    senteval-logreg-lbfgs   the same with today's library default, lbfgs and softmax
    jawahar2019     the released probe of Jawahar et al. 2019: [CLS], 50 hidden units, four passes, no early stop
    hewitt-liang    Hewitt & Liang's probes: linear through a bottleneck, or MLPs, with their schedule (probing.probes.hewitt_liang)
    ridge           of numbers: ridge regression, best penalty on dev (probing.probes.other)
    labels          of sets of labels: logistic regression label by label, one C (probing.probes.other)

Two deviations from the originals' code: SentEval's final refit is not made (with its seed it repeats, on deterministic
hardware, a run of the grid), and features are not rounded to 6 decimals as in Jawahar et al.'s files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from probing import config
from probing.errors import ConfigError
from probing.types import Features, Representation, Values


class SplitFeatures(NamedTuple):
    """Features of one column, split by split; `order`: the rows of train in SentEval's order (senteval/probing.py), by length in
    tokens, then by the task's label, then as in the file. Only protocols with order=senteval need it."""

    train: Features
    dev: Features
    test: Features
    order: np.ndarray | None = None


class SplitLabels(NamedTuple):
    """Labels of train and dev (class indices; of other tasks see `Targets`); protocols never see those of test."""

    train: Any
    dev: Any


class Fold(NamedTuple):
    """One fold of a cross-validation: rows of its train, dev and test sentences, and the labels of train and dev."""

    train: np.ndarray
    dev: np.ndarray
    test: np.ndarray
    labels: SplitLabels


@dataclass(frozen=True)
class ProbeResult:
    """The result of one fit.

    Attributes:
        predictions: class indices of the test sentences, (n_test,); of other tasks labels as in the split (`Targets`).
        dev_accuracy: of the chosen hyperparameters (`agreement`), 0-1; of numbers R².
        chosen: the hyperparameters chosen on dev; for a cross-validated task lists, fold by fold.
        tried: every setting, with its dev accuracy, and whether it converged; `exact` is False for a loose solution.
        converged: of the chosen fit; True for a protocol that stops by rule.
        edge: "lower end" or "upper end" if the chosen C (or L2, if tuned alone) is that of its grid, in any fold; else empty.
        left_out: the number of features that the protocol ignored because they are constant.
        model: makes the fitted classifier of raw features (n, d), with `predict` to class indices; None where there is none.
    """

    predictions: Any
    dev_accuracy: float
    chosen: Mapping[str, Any]
    tried: tuple[Mapping[str, Any], ...]
    converged: bool
    edge: str = ""
    left_out: int = 0
    model: Callable[[], Any] | None = field(default=None, repr=False, compare=False)


Load = Callable[[Representation], SplitFeatures]
"""Gives the features of a column."""


class ProbeProtocol(Protocol):
    """A way of fitting probes. `name` is the preset's; `label` adds the options that differ from it. One for other labels than
    classes names their kinds in an attribute `kinds` (see `kinds_of`)."""

    if TYPE_CHECKING:  # read-only, so that a frozen class will do

        @property
        def name(self) -> str: ...
    else:  # no property, which a subclass could not set
        name: str

    def settings(self, task: str) -> dict[str, Any]:
        """Return everything that determines the numbers for this task, as plain JSON: part of a cell's key."""
        ...

    def seed(self, seed: int) -> int | None:
        """Return the seed that is used when the run's is `seed`; None if no seed can change a number."""
        ...

    def columns(self, columns: Sequence[Representation]) -> list[Representation]:
        """Return the columns that the protocol probes."""
        ...

    def fit(
        self,
        load: Load,
        columns: Sequence[Representation],
        label_sets: Mapping[str, SplitLabels],
        task: str,
        n_classes: int,
        seed: int,
    ) -> Iterator[tuple[Representation, str, ProbeResult]]:
        """Fit every column to every label set; yield each result when it is ready; DataError for features that are not finite."""
        ...


def kinds_of(protocol: ProbeProtocol) -> tuple[str, ...]:
    """Return the kinds of labels (`probing.data.card.KINDS`) that the protocol fits; classes unless it says otherwise."""
    return tuple(getattr(protocol, "kinds", ("classification",)))


def set_f1(gold: Any, predicted: Any) -> Values:
    """F1 of each set of labels (n, K); 1 where both are empty."""
    size = gold.sum(1) + predicted.sum(1)
    return np.where(size > 0, 2 * (gold * predicted).sum(1) / np.maximum(size, 1), 1.0)


def agreement(gold: Any, predicted: Any) -> float:
    """Return how well predictions agree with the labels: accuracy (0-1), of sets the mean F1 (0-1), of numbers
    R², minus infinity if all gold numbers are the same and one is predicted otherwise."""
    gold, predicted = np.asarray(gold), np.asarray(predicted)
    if gold.ndim == 2:
        return float(set_f1(gold, predicted).mean())
    if gold.dtype.kind != "f":
        return float((predicted == gold).mean())
    if gold.max() == gold.min():
        return 1.0 if np.array_equal(gold, predicted) else -np.inf
    unit = np.abs(gold - gold.mean()).max()  # squares of very small or large numbers are none
    return float(1 - (((gold - predicted) / unit) ** 2).sum() / (((gold - gold.mean()) / unit) ** 2).sum())


def label(protocol: ProbeProtocol) -> str:
    """Return the preset's name and the options in which the protocol differs from it, e.g. `senteval[nhid=[100]]`."""
    if protocol.name not in config.names("probe"):  # a protocol of the user's own
        return protocol.name
    preset = config.read("probe", protocol.name)
    options: Any = protocol
    values = {option.name: getattr(protocol, option.name) for option in fields(options)}
    changed = [f"{name}={value}".replace(" ", "") for name, value in values.items() if name not in preset or value != preset[name]]
    return protocol.name + (f"[{','.join(changed)}]" if changed else "")


def edge_of(chosen: float, grid: Sequence[float]) -> str:
    """Return "lower end" or "upper end" if the chosen value is the smallest or the largest of several, else "".

    >>> edge_of(10.0, [0.1, 1.0, 10.0]), edge_of(1.0, [0.1, 1.0, 10.0]), edge_of(1.0, [1.0])
    ('upper end', '', '')
    """
    smallest, largest = min(grid), max(grid)
    return "" if smallest == largest or smallest < chosen < largest else "lower end" if chosen == smallest else "upper end"


def check_grid(name: str, values: Sequence[float], above: float, below: float = float("inf")) -> None:
    """Raise a `ConfigError` if there is no value, or one that is not between the bounds."""
    if not values or not all(above < value < below for value in values):
        bound = f"above {above:g}" + (f" and below {below:g}" if below < float("inf") else "")
        raise ConfigError(f"probe.{name}={list(values)} must hold at least one value, all {bound}")


def check_choice(name: str, value: str, allowed: Iterable[str]) -> None:
    """Raise a `ConfigError` if the value is not allowed."""
    if value not in allowed:
        raise ConfigError(f"probe.{name}={value!r} is unknown (allowed: {', '.join(allowed)})")


def ordered_rows(order: str, blocks: SplitFeatures) -> np.ndarray | slice:
    """Return the rows of train in the order in which a probe reads them."""
    if order == "file":
        return slice(None)
    if blocks.order is None:
        raise ConfigError(
            "probe.order=senteval needs the lengths of the sentences: give SplitFeatures their order, or use order=file"
        )
    return blocks.order


def best_of(path: Sequence[tuple[dict[str, Any], Any]], x_test: Any, grid: Sequence[float], left_out: int = 0) -> ProbeResult:
    """Return the result of the model with the highest dev accuracy; on ties the first, so the smallest C. `path`: entries of
    `ProbeResult.tried`, each with its model; `grid`: all values of C of the protocol, of which a path may try the first ones."""
    chosen, model = max(path, key=lambda pair: pair[0]["dev_accuracy"])
    settings = tuple(setting for setting, _ in path)
    edge = edge_of(chosen["C"], grid)
    predicted = np.asarray(model.predict(x_test))
    choice, converged = {"C": chosen["C"]}, chosen["converged"]
    return ProbeResult(predicted, chosen["dev_accuracy"], choice, settings, converged, edge, left_out, lambda: model)

"""Several layers in one probe, as a measure: `measures=layers`. A row has no layer; its facets name the layers that it reads.

Every method ends in the probe `fast` (probing.probes.path), so that scores differ by the layers alone:

    single    the layer with the highest dev accuracy
    concat    the features of all layers side by side
    mix       a scalar mix whose weights are fitted first (probing.probes.mix)
    average   the mean of the layers' logits
    best      that of the asked for methods with the highest dev accuracy (the first of equals)
    expected  the expected layer of mixes of the layers 0..l: NaN where the gain over layer 0 is below twice its standard error
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from probing.data.task import Task
from probing.encoders.pooling import place_in_tables
from probing.errors import ConfigError, DataError, ProbingError, foreign
from probing.evaluation.class_measure import ClassMeasure
from probing.evaluation.codes import plain
from probing.evaluation.measure import Cell, Result, reason_of, row_for, rows_of
from probing.evaluation.request import Measured, Request
from probing.evaluation.statistics import mean_ci, percentile, standard_error
from probing.probes.base import ProbeResult, SplitFeatures, SplitLabels
from probing.store.results import key_of
from probing.types import Estimate, Representation, Values

SIMPLE = ("single", "concat", "mix", "average")
METHODS = (*SIMPLE, "best", "expected")
SPLITS = ("train", "dev", "test")


class Scored(NamedTuple):
    """Accuracy on dev, right (n_test,), and what the method adds."""

    dev: float
    right: Values
    scores: dict[str, Estimate] = {}
    facets: dict[str, Any] = {}
    details: dict[str, Any] = {}


@dataclass
class SeveralLayers(ClassMeasure):
    """`layers`: scores accuracy and dev_accuracy; of the mix centre, rescaled_centre, kl_uniform_bits and moved; details:
    shares."""

    name = "layers"
    version = 3  # 1 counted positions among the layers in the expected layer, 2 summed the gradient of a mix in another order
    methods: list[str] = field(default_factory=lambda: [*SIMPLE, "best"])
    C: float = 1.0
    seed: int = 0
    draws: int = 1000

    def __post_init__(self) -> None:
        if not self.methods or (unknown := [name for name in self.methods if name not in METHODS]):
            raise ConfigError(
                f"layers.methods={list(self.methods)}: allowed is a list of {', '.join(METHODS)}; unknown: {unknown or 'none'}"
            )
        if self.methods == ["best"]:
            raise ConfigError(f"layers.methods=[best] has nothing to choose from (add some of {', '.join(SIMPLE)})")
        self.check_whole(0, "seed")
        self.check_whole(100, "draws")
        if not 0 < self.C < float("inf"):
            raise ConfigError(f"layers.C={self.C} must be above 0")

    def planned(self, task: Task, measured: Measured | None, request: Request, seed: int) -> Iterable[Cell]:
        if measured is None:
            return
        row = replace(row_for(task, measured, request), measure=self.name)
        fixed = {"data": task.sha256, "encoder": measured.fingerprint or {"name": measured.name}, **self.group(task)}
        fixed |= {} if task.test.groups is None else {"interval": "t, over groups"}
        columns = [column for column in measured.columns if column != measured.static]
        poolings = sorted({column.pooling for column in columns}, key=place_in_tables)
        if measured.failure or not poolings:
            inputs = fixed | {"method": None} | request.stored
            yield Cell(inputs, replace(row, cell=key_of(inputs)), task, self, measured.encoder, None, failure=measured.failure)
        for pooling in poolings:
            layers = sorted(column.layer for column in columns if column.pooling == pooling)
            for method in self.methods if len(layers) > 1 else ():
                inputs = fixed | {"layers": layers, "pooling": pooling, "method": method} | request.stored
                own = replace(row, pooling=pooling, probe=method, cell=key_of(inputs))
                yield Cell(inputs, own, task, self, measured.encoder, Representation(layers[-1], pooling), layers)

    def run(self, cells: Sequence[Cell], vectors: Any) -> Iterator[tuple[Cell, Result | str]]:
        """All methods of a pooling, one pooling after the other; the layers of one are held in memory."""
        assert vectors is not None
        task = cells[0].task
        rows = rows_of(task, vectors)
        for pooling, layers in dict.fromkeys((cell.place.pooling, tuple(cell.own)) for cell in cells):
            own = [cell for cell in cells if (cell.place.pooling, tuple(cell.own)) == (pooling, layers)]
            fits = _Fits([Representation(layer, pooling) for layer in layers], rows, task, self)
            for cell in own:
                try:
                    with foreign(f"measure {self.name}"):
                        result = self._as_result(fits.of(cell.row.probe), task, layers)
                except (ProbingError, MemoryError) as error:
                    yield cell, reason_of(error)
                else:
                    yield cell, result

    def _as_result(self, one: Scored, task: Task, layers: Sequence[int]) -> Result:
        groups = task.test.clusters
        scores = {"accuracy": mean_ci(one.right, groups), "dev_accuracy": Estimate(one.dev, np.nan, np.nan), **one.scores}
        facets = {"layers": " ".join(map(str, layers)), **one.facets}
        return Result(scores, facets, one.details, {"accuracy": one.right} | ({} if groups is None else {"groups": groups}))


class _Fits:
    """The methods on one pooling, each fitted once."""

    def __init__(self, columns: Sequence[Representation], rows: Sequence[Any], task: Task, options: SeveralLayers) -> None:
        self.columns, self.rows, self.task, self.options = columns, rows, task, options
        self._done: dict[str, Scored] = {}

    def of(self, method: str) -> Scored:
        if method not in self._done:
            make: dict[str, Callable[[], Scored]] = {
                "single": self._single, "concat": self._concat, "mix": self._mix, "average": self._average,
                "best": self._best, "expected": self._expected,
            }  # fmt: skip
            self._done[method] = make[method]()
        return self._done[method]

    def _layers(self) -> list[SplitFeatures]:
        if not hasattr(self, "_read"):
            self._read = [SplitFeatures(*(split.get(column) for split in self.rows)) for column in self.columns]
        return self._read

    def _fit(self, features: SplitFeatures) -> ProbeResult:
        from probing.probes.path import LogisticPath

        labels = {"true": SplitLabels(self.task.train.labels, self.task.dev.labels)}
        [(_, result)] = LogisticPath().fit_column(features, labels, self.task.name, len(self.task.classes), 0)
        return result

    def _right(self, predicted: Any) -> Values:
        return (np.asarray(predicted) == self.task.test.labels).astype(float)

    def _scored(self, result: ProbeResult, **more: Any) -> Scored:
        return Scored(result.dev_accuracy, self._right(result.predictions), **more)

    def _each(self) -> list[ProbeResult]:
        if not hasattr(self, "_singles"):
            self._singles = [self._fit(layer) for layer in self._layers()]
        return self._singles

    def _single(self) -> Scored:
        at = int(np.argmax([one.dev_accuracy for one in self._each()]))
        return self._scored(self._each()[at], facets={"chosen_layer": self.columns[at].layer})

    def _concat(self) -> Scored:
        parts = ([getattr(x, name) for x in self._layers()] for name in SPLITS)
        return self._scored(self._fit(SplitFeatures(*(np.concatenate(part, 1) for part in parts))))

    def _average(self) -> Scored:
        def mean(split: str) -> Values:
            pairs = zip(self._each(), self._layers(), strict=True)
            logs = [one.model().predict_log_proba(getattr(x, split)) for one, x in pairs if one.model]
            total: Values = np.mean(logs, axis=0)  # logits up to one number for each item
            return total

        dev = float((mean("dev").argmax(1) == self.task.dev.labels).mean())
        return Scored(dev, self._right(mean("test").argmax(1)))

    def _mixed(self, count: int) -> tuple[Any, ProbeResult]:
        """The mix of the first layers, and the probe on it."""
        from probing.probes.mix import Mix, fit_mix

        layers = self._layers()[:count]
        trains, options = [x.train for x in layers], self.options
        if len(widths := sorted({x.shape[1] for x in trains})) > 1:
            several = ", ".join(map(str, widths))
            raise DataError(f"the layers have the widths {several}; a mix needs one: set layer=…, or layers.methods without it")
        mix = (
            fit_mix(trains, self.task.train.labels, len(self.task.classes), options.C, options.seed)
            if count > 1
            else Mix(np.zeros(1))
        )
        return mix, self._fit(SplitFeatures(*(mix.of([getattr(x, split) for x in layers]) for split in SPLITS)))

    def _mix(self) -> Scored:
        mix, result = self._mixed(len(self.columns))
        numbers = np.array([column.layer for column in self.columns], float)
        values = {"centre": float(mix.shares @ numbers), "kl_uniform_bits": mix.kl_uniform, "moved": mix.moved}
        values["rescaled_centre"] = float(mix.rescaled @ numbers)
        details = {"weights": mix.w.tolist(), "shares": mix.shares.tolist(), "rescaled_shares": mix.rescaled.tolist()}
        point = partial(Estimate, lower=np.nan, upper=np.nan)
        scores = {name: point(value) for name, value in values.items()}
        return self._scored(result, scores=scores, facets={"mix_converged": mix.converged}, details=details)

    def _best(self) -> Scored:
        dev: dict[str, float] = {}
        for name in (name for name in self.options.methods if name in SIMPLE):
            with suppress(DataError):  # a mix of layers of several widths
                dev[name] = self.of(name).dev
        chosen = max(dev, key=lambda name: dev[name])  # the first of equals
        return self.of(chosen)._replace(scores={}, details={}, facets={"chosen_method": chosen})

    def _expected(self) -> Scored:
        from probing.probes.mix import ExpectedLayer, running_max

        fits = [self._mixed(count)[1] for count in range(1, len(self.columns) + 1)]
        right = np.stack([self._right(one.predictions) for one in fits])  # (L + 1, n)
        groups = self.task.test.clusters
        layers = [column.layer for column in self.columns]
        own, gain = ExpectedLayer.of(right.mean(1), layers), right[-1] - right[0]
        too_small = not gain.mean() > 2 * standard_error(gain, groups)
        clusters = np.arange(right.shape[1]) if groups is None else groups
        sums = np.stack([np.bincount(clusters, weights=row) for row in right])  # (L + 1, m)
        m = sums.shape[1]
        drawn = np.random.default_rng(0).multinomial(m, np.full(m, 1 / m), self.options.draws)  # (draws, m)
        sizes = drawn @ np.bincount(clusters)
        resampled = np.array([ExpectedLayer.of(scores, layers).value for scores in drawn @ sums.T / sizes[:, None]])
        defined = np.isfinite(resampled)
        reason = "" if own.inside else f"outside {layers[1]}..{layers[-1]}"
        if too_small:
            reason = f"the gain over layer {layers[0]} is below twice its standard error"
        estimate = Estimate(np.nan, np.nan, np.nan)
        if not reason and defined.any():
            estimate = percentile(own.value, resampled)
        scores = {"expected_layer": estimate, "gain": mean_ci(gain, groups)}
        facets = {"undefined": reason, "undefined_draws": int((~defined).sum())}
        facets["running_max"] = plain(running_max(right.mean(1), layers).value)
        details = {"scores": right.mean(1).tolist(), "gains": own.gains.tolist(), "gains_kl_bits": plain(own.kl_uniform)}
        return Scored(fits[-1].dev_accuracy, right[-1], scores, facets, details)

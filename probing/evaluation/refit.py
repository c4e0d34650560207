"""A probe of a table fitted again from the stored vectors: `ResultTable.probe`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from probing.errors import ConfigError, DataError
from probing.evaluation.folds import FoldData
from probing.evaluation.measure import Cell, rows_of
from probing.evaluation.probe import Probe, fit_column, label_set
from probing.probes.base import ProbeResult
from probing.probes.fitted import FittedProbe, Linear
from probing.store.results import ResultStore
from probing.store.vectors import Store
from probing.types import Targets


@dataclass(frozen=True)
class Refit:
    """Fits the cells of a request again; called with the key of a cell.

    The label sets of a column (true labels and controls) are fitted together as they were, then alone, since the last digits of a
    solution may depend on that.
    """

    cells: Mapping[str, Cell]
    store: Store
    results: ResultStore

    @classmethod
    def of(cls, planned: Sequence[Cell], store: Store, results: ResultStore) -> Refit:
        return cls({cell.key: cell for cell in reversed(planned)}, store, results)

    def __call__(self, key: str) -> FittedProbe:
        """The probe of a cell.

        Raises:
            ConfigError: a cross-validated task, or a probe that gives no model.
            DataError: its predictions of the test sentences are not those that were recorded.
        """
        cell = self.cells[key]
        task, measure, encoder, column = cell.task, cell.measure, cell.encoder, cell.column
        assert isinstance(measure, Probe) and encoder is not None and column is not None
        if task.folds:
            raise ConfigError(
                f"{task.name} is cross-validated: it has a probe for each of {len(task.folds)} folds, and none of the whole"
            )
        texts = [text for split in task.splits.values() for text in split.texts]
        vectors = self.store.vectors(encoder, texts, [column.pooling])
        rows = rows_of(task, vectors)
        _, recorded = self.results.predictions(key)
        same = {label_set(other) for other in self.cells.values() if _of_column(other, cell)}
        for wanted in dict.fromkeys((tuple(sorted(same)), (label_set(cell),))):
            seed = cell.own.seed if cell.own.probe_seed is not None else 0
            part = FoldData.of(task, task, wanted, cell.own.half)
            fits = fit_column(column, rows, [part], measure.protocol, task, seed)
            fit = next(one.result for one in fits if one.label_set == label_set(cell))
            differ = _differ(fit.predictions, recorded)
            if not differ.any():
                return self._probe(cell, fit, rows[2].get(column), recorded)
        raise DataError(
            f"the probe of cell {key}, fitted again, gives {int(differ.sum())} of {len(recorded)} test sentences another label "
            "than was recorded: another machine or other versions measured it; measure it again with force=True"
        )

    @staticmethod
    def _probe(cell: Cell, fit: ProbeResult, x: np.ndarray, recorded: Targets) -> FittedProbe:
        protocol: Any = cell.measure
        if fit.model is None:
            raise ConfigError(f"probe {protocol.protocol.name} gives no model (`ProbeResult.model`), so the probe cannot be had")
        row, place = cell.row, cell.place
        title = f"{row.task}, {row.encoder}, layer {place.layer} {place.pooling}"
        probe = FittedProbe(fit.model(), cell.task.classes, x.shape[1], title)
        wrong = _differ(np.asarray(probe.model.predict(x)), recorded)
        if wrong.any() and not (isinstance(probe.model, Linear) and _tied(probe.model, x[wrong])):
            raise DataError(f"the model of cell {cell.key} predicts {int(wrong.sum())} test sentences otherwise than the probe did")
        return probe


def _differ(predicted: np.ndarray, recorded: np.ndarray) -> np.ndarray:
    """Which test sentences have other labels, (n,); of numbers those that differ by more than rounding."""
    if recorded.dtype.kind == "f":
        return ~np.isclose(predicted, recorded, rtol=1e-5, atol=1e-5 * float(np.abs(recorded).max(initial=0)))
    differ = predicted.astype(np.int64) != recorded
    return differ.any(1) if differ.ndim == 2 else differ


def _of_column(other: Cell, cell: Cell) -> bool:
    return (
        other.measure is cell.measure
        and other.column == cell.column
        and (other.task.sha256, other.row.encoder_fingerprint) == (cell.task.sha256, cell.row.encoder_fingerprint)
        and (other.own.probe_seed, other.own.half) == (cell.own.probe_seed, cell.own.half)
    )


def _tied(model: Linear, x: np.ndarray) -> bool:
    """Whether the two highest scores of each row differ by rounding alone: the probe itself was solved in float32."""
    scores = model.decision_function(x)
    both = np.stack([np.zeros_like(scores), scores], 1) if scores.ndim == 1 else np.sort(scores, axis=1)[:, -2:]
    return bool((np.abs(both[:, 1] - both[:, 0]) <= 1e-3 * max(1.0, float(np.abs(scores).max(initial=0)))).all())

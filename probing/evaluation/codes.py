"""Description length and V-information as measures: `measures=mdl`, `mdl_variational`, `v_information`; units are bits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from probing.data.task import Task
from probing.errors import ConfigError, ProbingError, foreign
from probing.evaluation.class_measure import ClassMeasure
from probing.evaluation.measure import Cell, Result, by_pooling, reason_of, rows_of
from probing.evaluation.request import Measured, Request, many
from probing.evaluation.statistics import mean_ci
from probing.probes.base import SplitFeatures
from probing.probes.controls import CONTROLS, control_task, control_version, unsuited
from probing.types import Estimate, Features, Labels, Representation, Values

NONE = "none"


class CodeMeasure(ClassMeasure):
    """A code that is also made of control labels, where `control` names them."""

    control: str

    def group(self, task: Task) -> Mapping[str, Any]:
        version = None if self.control == NONE else control_version(task, self.control)
        return {**super().group(task), "control_version": version}

    def lacks(self, task: Task) -> str:
        reason = "" if self.control == NONE else unsuited(task, self.control)
        return f"{self.name}.control={self.control} is not measured: {reason}" if reason else ""

    def controlled(self, task: Task) -> Task | None:
        """The task with control labels; None where it has none."""
        return None if self.control == NONE or self.lacks(task) else control_task(task, self.control, 0)


def plain(value: float) -> float | None:
    """A number as JSON has it: None for NaN."""
    return float(value) if np.isfinite(value) else None


def label_compression(task: Task) -> float:
    """log2 K over the entropy of the train labels: 1 for classes of one size; NaN where only one class occurs."""
    from probing.probes.codes.information import entropy

    bits = entropy(task.train.labels, len(task.classes))
    return float(np.log2(len(task.classes)) / bits) if bits else np.nan


def over(values: Mapping[str, Sequence[float]]) -> tuple[dict[str, Estimate], dict[str, float]]:
    """Means with 95 % t intervals over draws, and standard deviations by `sd_NAME`, of more than one draw."""
    sds = {f"sd_{name}": float(np.std(x, ddof=1)) for name, x in values.items() if len(x) > 1}
    return {name: mean_ci(x) for name, x in values.items()}, sds


@dataclass
class OnlineCode(CodeMeasure):
    """`mdl`: the online code of the train labels (probing.probes.codes.online). Scores: bits, uniform_bits, compression and
    control_compression, with t intervals over the orders of the sentences. Facets: label_compression, the most that class shares
    alone can give, which bounds the compression of permuted labels, and standard deviations. Details: every code."""

    name = "mdl"
    version = 2  # 1 shuffled documents, where the items have any
    shuffles: int = 3
    probe: str = "logistic"
    C: Any = field(default_factory=lambda: [1e-4, 1e-3, 1e-2, 1e-1, 1.0])
    control: str = "permuted"
    hidden: list[int] = field(default_factory=lambda: [1000, 1000])
    epochs: int = 40

    def __post_init__(self) -> None:
        self.check_whole(1, "shuffles", "epochs")
        self.check_choice("probe", ("logistic", "mlp"))
        self.check_choice("control", (*CONTROLS, NONE))
        self.C = list(many(self.C))
        self.check_positive("C")

    def score(self, vectors: SplitFeatures, task: Task) -> Result:
        from probing.probes.codes.bits import Code
        from probing.probes.codes.online import shuffled

        tasks = {"": task, "control_": self.controlled(task)}
        codes: dict[str, list[Code]] = {name: [] for name, one in tasks.items() if one is not None}
        details: list[dict[str, Any]] = []
        make = self._logistic(vectors, task) if self.probe == "logistic" else self._network(vectors, task)
        texts = np.array(task.train.texts, dtype=object)
        sentences = np.unique(texts, return_inverse=True)[1] if task.of_words else None
        for shuffle in range(self.shuffles):
            order, ends = shuffled(len(task.train), sentences, shuffle)
            for name, code, C in make(order, ends, {name: tasks[name] for name in codes}, shuffle):
                codes[name].append(code)
                bits = [float(x) for x in code.blocks]
                details.append({"labels": name + "code", "shuffle": shuffle, "C": C, "ends": code.ends.tolist(), "bits": bits})
        values = {"bits": [code.bits for code in codes[""]]}
        values |= {f"{name}compression": [code.compression for code in own] for name, own in codes.items()}
        scores, sds = over(values)
        scores["uniform_bits"] = Estimate(codes[""][0].uniform, np.nan, np.nan)
        facets = {"code": self.probe, "shuffles": self.shuffles, "interval": "t, over shuffles"}
        facets |= {"mixture": "uniform, 1 / (fitted + 1)", "labels_control": self.control if "control_" in codes else NONE}
        last = np.mean([code.shares[-1] for code in codes[""]])
        facets |= {"last_block_share": plain(last), "label_compression": plain(label_compression(task)), **sds}
        return Result(scores, facets, {"codes": details})

    def _logistic(self, vectors: SplitFeatures, task: Task) -> Any:
        from probing.probes.codes.online import logistic_code
        from probing.probes.codes.solver import Examples
        from probing.probes.logistic import Design

        design = Design.prepare(vectors.train)
        examples = Examples.of(design, len(task.classes))
        dev = examples.others(design, vectors.dev)

        def make(order: np.ndarray, ends: Labels, tasks: Mapping[str, Any], shuffle: int) -> Iterator[tuple[str, Any, float]]:
            own = examples.rows(order)
            for name, one in tasks.items():
                yield name, *logistic_code(own, one.train.labels[order], ends, self.C, (dev, one.dev.labels))

        return make

    def _network(self, vectors: SplitFeatures, task: Task) -> Any:
        from probing.probes.codes.network import network_code

        def make(order: np.ndarray, ends: Labels, tasks: Mapping[str, Any], shuffle: int) -> Iterator[tuple[str, Any, None]]:
            for name, one in tasks.items():
                train, dev = (vectors.train[order], one.train.labels[order]), (vectors.dev, one.dev.labels)
                yield name, network_code(train, dev, len(task.classes), ends, (self.hidden, self.epochs, shuffle)), None

        return make


@dataclass
class VariationalCode(CodeMeasure):
    """`mdl_variational`: the variational code of the train labels (probing.probes.codes.variational), of standardised features.
    Scores: bits, kl_bits, data_bits, uniform_bits, compression, and the same of control labels; intervals over fits, if several."""

    name = "mdl_variational"
    hidden: list[int] = field(default_factory=lambda: [256])
    epochs: int = 20
    batch_size: int = 400
    draws: int = 10
    seeds: int = 1
    control: str = NONE

    def __post_init__(self) -> None:
        self.check_whole(1, "epochs", "batch_size", "draws", "seeds")
        self.check_choice("control", (*CONTROLS, NONE))

    def score(self, vectors: SplitFeatures, task: Task) -> Result:
        from probing.probes.codes import variational
        from probing.probes.logistic import Design

        x, K = Design.prepare(vectors.train).z.contiguous().numpy(), len(task.classes)
        training = variational.Training(tuple(self.hidden), self.epochs, self.batch_size)
        values: dict[str, list[float]] = {}
        errors, plug_in, control = [], [], self.controlled(task)
        for seed in range(self.seeds):
            for name, one in (("", task), ("control_", control)):
                if one is None:
                    continue
                layers = variational.fit(x, one.train.labels, K, training, seed)
                code = variational.code_of(layers, x, one.train.labels, K, self.draws, seed)
                own = {"bits": code.bits, "kl_bits": code.kl / np.log(2), "compression": code.compression}
                for metric, value in own.items():
                    values.setdefault(name + metric, []).append(value)
                if not name:
                    values.setdefault("data_bits", []).append(float(code.draws.mean() / np.log(2)))
                    errors.append(code.standard_error)
                    plug_in.append(code.legacy_total)
        scores, sds = over(values)
        scores["uniform_bits"] = Estimate(code.uniform, np.nan, np.nan)
        facets = {"interval": "t, over fits" if self.seeds > 1 else NONE, "draws_se_bits": float(np.mean(errors)), **sds}
        facets |= {"labels_control": NONE if control is None else self.control, "legacy_total_nats": float(np.mean(plug_in))}
        return Result(scores, facets)


@dataclass
class VInformation(ClassMeasure):
    """`v_information`: bits about each test label that logistic regression uses (probing.probes.codes.information). Scores, with
    intervals over test items or their groups: v_information, bits (cross-entropy), accuracy; beyond (`beyond`), gain (`control`).
    Facets: null_bits, share_of_null, values of C."""

    name = "v_information"
    C: Any = field(default_factory=lambda: [1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0])
    beyond: int | None = None
    control: str = NONE
    seed: int = 0

    def __post_init__(self) -> None:
        self.C = list(many(self.C))
        self.check_positive("C")
        self.check_choice("control", (NONE, "one-hot", "random", "static"))
        if self.beyond is not None:
            self.check_whole(0, "beyond")

    def planned(self, task: Task, measured: Measured | None, request: Request, seed: int) -> Iterable[Cell]:
        if measured is not None and self.beyond is not None and measured.columns and measured.encoder is not None:
            if self.beyond >= (n := len(measured.encoder.dims)):
                raise ConfigError(f"v_information.beyond={self.beyond}: {measured.name} has the layers 0 (embeddings) to {n - 1}")
        return super().planned(task, measured, request, seed)

    def run(self, cells: Sequence[Cell], vectors: Any) -> Iterator[tuple[Cell, Result | str]]:
        """One pooling after the other; baselines are fitted once for each."""
        assert vectors is not None
        task = cells[0].task
        rows = rows_of(task, vectors)
        kept: dict[tuple[str, str], Any] = {}

        def read(column: Representation) -> SplitFeatures:
            return SplitFeatures(*(split.get(column) for split in rows))

        for cell in by_pooling(cells):
            try:
                with foreign(f"measure {self.name}"):
                    result = self._result_of(cell, read, kept)
            except (ProbingError, MemoryError) as error:
                yield cell, reason_of(error)
            else:
                yield cell, result

    def _result_of(self, cell: Cell, read: Any, kept: dict[tuple[str, str], Any]) -> Result:
        from probing.probes.codes import information

        task, column = cell.task, cell.place
        gold, features = task.test.labels, read(column)
        null = information.surprisal(
            information.null_probabilities(np.bincount(task.train.labels, minlength=len(task.classes))), gold
        )
        bits, right, C = self._bits(features, task)
        items = {"v_information": null - bits, "bits": bits, "accuracy": right}
        facets: dict[str, Any] = {
            "C": C,
            "null_bits": float(null.mean()),
            "share_of_null": float((null - bits).mean() / null.mean()),
        }
        if self.control != NONE:
            if (key := (self.control, column.pooling)) not in kept:
                kept[key] = self._control(task, read, column)
            items["gain"] = kept[key][0] - bits
            facets |= {"gain_over": self.control, "C_control": kept[key][1]}
        if self.beyond is not None and self.beyond != column.layer:
            base = read(Representation(self.beyond, column.pooling))
            if (key := ("beyond", column.pooling)) not in kept:
                # [b; 0] has a constant half, which the probe leaves out: the same family on an input of the same width
                kept[key] = self._bits(_beside(base, [np.zeros_like(x) for x in features[:3]]), task)
            items["beyond"] = kept[key][0] - self._bits(_beside(base, features[:3]), task)[0]
            facets["beyond_layer"] = self.beyond
        groups = task.test.clusters
        scores = {name: mean_ci(x, groups) for name, x in items.items()}
        return Result(scores, facets, items=items | ({} if groups is None else {"groups": groups}))

    def _bits(self, features: SplitFeatures, task: Task) -> tuple[Values, Values, float]:
        """Bits of the test labels, whether they were predicted, and the C that dev chose."""
        from probing.probes.codes.solver import Examples
        from probing.probes.logistic import Design

        design = Design.prepare(features.train)
        examples = Examples.of(design, len(task.classes))
        dev = examples.others(design, features.dev), task.dev.labels
        fit = examples.choose(task.train.labels, self.C, dev, loose=False)
        test, gold = examples.others(design, features.test), task.test.labels
        predicted = test.log_probabilities(fit).argmax(1)
        return test.bits(fit, gold), (predicted == gold).astype(float), fit.C

    def _control(self, task: Task, read: Any, column: Representation) -> tuple[Values, float]:
        from probing.probes.codes.types import one_hot_bits, random_embeddings

        splits = [split.units for split in task.splits.values()]
        if self.control == "one-hot":
            labels = [split.labels for split in task.splits.values()]
            return one_hot_bits(splits, labels, len(task.classes), self.C)
        static = read(Representation(0, column.pooling))
        if self.control == "random":
            static = SplitFeatures(*random_embeddings(splits, static.train.shape[1], self.seed))
        bits, _, C = self._bits(static, task)
        return bits, C


def _beside(base: SplitFeatures, more: Sequence[Features]) -> SplitFeatures:
    return SplitFeatures(*(np.concatenate([a, b], 1) for a, b in zip(base[:3], more, strict=True)))

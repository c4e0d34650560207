"""T layer by layer: strength of interaction within segments of real sentences, beside the probing accuracy of the same layers.

Each sentence has one random segment; all layers come from the same model rows (v_f of `probing.interactions.text.game`). "T
grows from layer to layer" (Zhang et al. 2021, AAAI 35) is tested by the paired differences of successive layers over the same
sentences. With pad, mask, unknown, zero or mean, f of layer 0 (mean, all) is a sum over words wherever word vectors are looked
up one by one: T is 0 there up to rounding, and a positive first step only says that the network mixes words. With attention
and delete the number of averaged tokens changes with the words, so T of layer 0 need not be 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from probing.data.sources import SentEvalFolder
from probing.encoders.base import Encoder, fingerprint
from probing.errors import ConfigError
from probing.evaluation.evaluate import evaluate
from probing.evaluation.paired_tests import holm, paired
from probing.evaluation.statistics import mean_ci, median_ci
from probing.evaluation.table import ResultTable
from probing.interactions.options import Estimator, Masking
from probing.interactions.text.many import draw_cases, layer_interactions
from probing.interactions.text.masking import REREAD, possible, published
from probing.report import figures
from probing.store.results import ResultStore
from probing.studies import Context, check_words, require
from probing.studies.layout import grouped, shown, table, write
from probing.types import Estimate

VALUES = ("cls", "mean", "all")
MEASURES = ("T", "T_relative", "B")
LINE = "data encoder value masking"
"""Columns that name an encoder's layers, as `grouped` takes them."""
ROUNDING = 1e-6
"""T below this is rounding of float32 states."""
NOTE = """# Interaction strength layer by layer

T and B: mean over sentences [95 % t interval]. T_relative = T / |v(N) - v(empty)|: median over the sentences where it
exists [95 % bootstrap interval], since it has far outliers where v(N) is near v(empty). Below 1e-6 is rounding.
Verdicts: paired differences of successive layers, Holm over the steps of a line at 0.05; differences in steps.csv."""
ENDS = """## The last layer less the first

T: mean of the paired differences [95 % t interval], t test; T_relative: their median [95 % bootstrap interval], Wilcoxon's test. p:
Holm over the values and maskings of an encoder. Where T of the first layer is 0 with a masking, T cannot be smaller in a later
layer: there the difference says that the network mixes words, and no more."""
SHOWN = ["encoder", "paper_name", "layer", "accuracy", "accuracy_low", "accuracy_high", "majority", "probe", "n_train"]


@dataclass
class InteractionLayers:
    sentences: int = 100
    words: list[int] = field(default_factory=lambda: [8, 12])
    lengths: list[int] = field(default_factory=lambda: [3, 4, 5])
    split: str = "test"
    values: list[str] | None = None
    maskings: list[str] | None = None
    method: str = "exact"
    budget: int | None = None
    probing: str | None = None
    probe: str = "fast"
    train_size: int | None = None

    name: ClassVar[str] = "interaction_layers"
    uses: ClassVar[tuple[str, ...]] = ("encoder", "data")

    def __post_init__(self) -> None:
        check_words(self.words)
        require(self.sentences >= 1, f"study.sentences={self.sentences} must be at least 1")
        require(self.split in ("train", "dev", "test"), f"study.split={self.split!r} is unknown (allowed: train, dev, test)")
        message = f"study.maskings={self.maskings} must be a list of different maskings, such as [pad, delete]"
        require(self.maskings is None or 0 < len(set(self.maskings)) == len(self.maskings), message)

    def measure(self, context: Context) -> pd.DataFrame:
        encoder, frames = context.encoder, []
        values = {name: self._values(encoder, name) for name in self.maskings or [published(encoder)]}
        estimator = Estimator(self.method, self.budget, context.seed)
        for task in context.tasks:
            texts = task.splits[self.split].texts
            cases = draw_cases(texts, self.sentences, None, (self.words[0], self.words[1]), self.lengths, context.seed)
            for name in values:
                rows = layer_interactions(encoder, cases, context.results.root, values[name], Masking(name), method=estimator)
                rows.insert(0, "layer", rows.column.str.split().str[0].astype(int))
                frames.append(rows.drop(columns="phi").assign(kind="interaction", data=task.name))
        if self.probing is not None:
            frames.append(self._accuracies(context).assign(kind="probing"))
        return pd.concat(frames, ignore_index=True)

    def _values(self, encoder: Encoder, masking: str) -> list[str]:
        """
        Raises:
            ConfigError: the encoder has no such masking, or not all values with it.
        """
        allowed = [name for name in possible(encoder) if name != "replace"]
        message = f"study.maskings: {masking!r} is not possible for {encoder.name} (allowed: {', '.join(allowed)})"
        require(masking in allowed, message)
        known = (*encoder.poolings, *(["all"] if masking not in REREAD else []))
        values = self.values or [value for value in VALUES if value in known]
        for value in values:
            message = f"study.values={values}: {encoder.name} with masking={masking} has no {value!r} ({', '.join(known)})"
            require(value in known, message)
        return values

    def _accuracies(self, context: Context) -> pd.DataFrame:
        """Probing rows of the encoder at mean pooling: `SHOWN` and `task`."""
        encoder, path, option = context.encoder, Path(self.probing or "").expanduser(), f"study.probing={self.probing!r}"
        written = path / "rows.csv" if path.is_dir() else path
        if written.is_file():
            try:
                results = ResultTable.read_csv(written)
            except (KeyError, AttributeError, ValueError) as error:
                raise ConfigError(f"{option}: {written} is no rows.csv of probing run ({error})") from None
        else:
            require(path.is_dir(), f"{option}: no such file or folder; give task files, a run folder or rows.csv")
            results = evaluate(
                SentEvalFolder(str(path)).tasks(None), [encoder], store=context.store, cells=ResultStore(context.home / "cells"),
                probe=self.probe, poolings=("mean",), seeds=context.seeds, controls=(), floors=(), train_size=self.train_size,
            )  # fmt: skip
        frame = results.frame
        frame = frame[(frame.role == "probe") & (frame.pooling == "mean") & (frame.status == "done")]
        frame = frame[frame.encoder_fingerprint == fingerprint(encoder)].assign(encoder=encoder.name)
        require(len(frame) > 0, f"{option} holds no accuracies of {encoder.name} at mean pooling")
        return frame.groupby(["task", "layer"], sort=False).first().reset_index()[["task", *SHOWN]]

    def report(self, frame: pd.DataFrame, folder: Path) -> None:
        """layers.csv, steps.csv, table.md, a figure for each data and masking; with accuracies also profile.csv and profiles."""
        inner, outer = frame[frame.kind == "interaction"].astype({"layer": int}), frame[frame.kind == "probing"]
        means, moves = averages(inner), steps(inner)
        files: dict[str, pd.DataFrame | str] = {"layers.csv": means, "steps.csv": moves}
        if len(outer):
            outer = files["profile.csv"] = outer[["task", *SHOWN]].astype({"layer": int, "n_train": int})
        for key, part in grouped(means, "data masking"):
            name = f"{key['data']}-{key['masking']}.svg"
            files[f"figure-layers-{name}"] = figures.strengths(part)
            if part.encoder.isin(outer.encoder).any():
                files[f"figure-profile-{name}"] = figures.profile(outer, part[part.encoder.isin(outer.encoder)])
        blocks = [NOTE, *([ENDS, table(_ends(means, moves))] if moves.whole.any() else [])]
        for key, part in grouped(means, "data measure"):
            blocks += [f"## {key['measure']}, {key['data']}", _layers(part, moves[moves.measure == key["measure"]])]
        write(folder, blocks, files)


def averages(frame: pd.DataFrame) -> pd.DataFrame:
    """T and B of each layer as means over sentences with 95 % t intervals, T_relative as median with a bootstrap interval: one line
    per data, measure, encoder, value, masking and layer; `sentences`: those where the number exists."""
    lines = []
    for data, part in grouped(frame, "data"):
        for measure in MEASURES:
            for key, rows in grouped(part, "encoder value masking layer column"):
                numbers = rows.groupby("text")[measure].mean().dropna()
                mean = (median_ci if measure == "T_relative" else mean_ci)(numbers)
                x = {"estimate": mean.value, "low": mean.lower, "high": mean.upper, "sentences": len(numbers)}
                lines.append(data | {"measure": measure} | key | x)
    return pd.DataFrame(lines)


def steps(frame: pd.DataFrame) -> pd.DataFrame:
    """Paired differences between layers over the same sentences: of T means and t tests, of T_relative medians and Wilcoxon's; of
    every two successive layers, and, `whole`, of the last layer less the first. `p_holm`: of successive steps over those of an
    encoder, data, value, masking and measure; of whole lines over the values and maskings of an encoder, data and measure."""
    lines = []
    for key, part in frame.groupby(LINE.split(), sort=False):
        for measure in ("T", "T_relative"):
            wide = part.pivot_table(measure, "text", "layer", dropna=False)
            layers = sorted(part.layer.unique())
            ends = [(layers[0], layers[-1], True)] if len(layers) > 1 else []
            for low, high, whole in [*((a, b, False) for a, b in zip(layers[:-1], layers[1:], strict=True)), *ends]:
                both = wide.reindex(columns=[low, high]).dropna()
                x, p = paired(both[high] - both[low], robust=measure == "T_relative")
                lines.append((*key, measure, low, high, whole, x.value, x.lower, x.upper, len(both), p))
    moves = pd.DataFrame(lines, columns=f"{LINE} measure from_ to whole difference low high sentences p".split())
    moves = moves.astype({"whole": bool}).assign(p_holm=moves.p)
    tested = moves[moves.p.notna()]
    for rows, family in ((tested[~tested.whole], f"{LINE} measure"), (tested[tested.whole], "data encoder measure")):
        for _, part in grouped(rows, family):
            moves.loc[part.index, "p_holm"] = holm(part.p)
    return moves


def verdict(moves: pd.DataFrame, alpha: float = 0.05) -> str:
    """Whether a measure grows at every step, for the lines of one encoder, value and measure.

    >>> verdict(pd.DataFrame({"whole": [False, False], "difference": [1.0, -0.1], "p_holm": [0.01, 0.2]}))
    'grows at 1 of 2 steps, falls at 0, 1 not told'
    """
    inner = moves[~moves.whole]
    sure = inner.p_holm < alpha
    grows, falls = int((sure & (inner.difference > 0)).sum()), int((sure & (inner.difference < 0)).sum())
    return f"grows at {grows} of {len(inner)} steps, falls at {falls}, {len(inner) - grows - falls} not told"


def _layers(means: pd.DataFrame, moves: pd.DataFrame) -> str:
    """The table of a measure: a line per encoder, value and masking, a column per layer."""
    moves_of = {tuple(key.values()): part for key, part in grouped(moves, LINE)}
    lines = []
    for key, part in grouped(means, LINE):
        line: dict[str, Any] = {name: key[name] for name in ("encoder", "value", "masking")} | {"sentences": part.sentences.max()}
        if tuple(key.values()) in moves_of:
            line["layer to layer"] = verdict(moves_of[tuple(key.values())])
        lines.append(line | {f"layer {x.layer}": shown(Estimate(x.estimate, x.low, x.high), none="") for x in part.itertuples()})
    return table(pd.DataFrame(lines).fillna("").to_dict("records"))


def _ends(means: pd.DataFrame, moves: pd.DataFrame) -> list[dict[str, str]]:
    """The last layer less the first, in words: a line per data, encoder, value and masking."""
    first = means[means.measure == "T"].sort_values("layer").groupby(LINE.split()).estimate.first()
    lines = []
    for line, part in grouped(moves[moves.whole], LINE):
        T = first[tuple(line.values())]
        for x in part.itertuples():
            line[f"{x.measure}: last less first"] = shown(Estimate(x.difference, x.low, x.high), none="")
            line[f"{x.measure}: p"] = "" if math.isnan(x.p_holm) else f"{x.p_holm:.2g}"
        lines.append(line | {"T of the first layer": "0: forced to grow" if abs(T) < ROUNDING else f"{T:.3g}"})
    return lines

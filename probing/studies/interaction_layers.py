"""T layer by layer: strength of interaction within segments of real sentences, beside the probing accuracy of the same layers.

    v_f(S) = <f(S), f(N)> / ||f(N)||^2,   f the CLS vector, the mean, or all tokens of a layer (`probing.interactions.text.game`)

Each sentence has one random segment; all layers come from the same model rows. T has means with 95 % t
intervals over sentences; T_relative, which has far outliers where v(N) is near v(empty), medians with bootstrap intervals. "T grows
from layer to layer" (Zhang et al. 2021, AAAI 35) is answered by the paired differences of successive layers over the same sentences
(t test, or Wilcoxon's; Holm over the steps of an encoder, value and masking).

What an absent word is can turn the answer, so several maskings can be measured on the same sentences and segments. With pad, mask,
unknown, zero or mean every token keeps its place, and f of layer 0 (mean, all) is a sum over words wherever word vectors are looked
up one by one: T is 0 there up to rounding, and a positive first step says that the network mixes words, and no more. With
attention and delete the number of tokens that are averaged changes with the words, so T of layer 0 need not be 0.

`probing` puts accuracies beside it: a folder of task files (measured with the store and cells of run.dir, mean pooling, no
controls and no floors; what is finished is read), or a run folder or rows.csv of `probing run` with the same encoder.

Left out: the largest coordinate of f as value, which the released code took.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pandas as pd

from probing.data.sources import SentEvalFolder
from probing.encoders.base import Encoder, fingerprint
from probing.errors import ConfigError
from probing.evaluation.evaluate import evaluate
from probing.evaluation.paired_tests import holm, paired
from probing.evaluation.statistics import mean_ci, median_ci
from probing.evaluation.table import ResultTable
from probing.interactions.text.many import draw_cases, layer_interactions
from probing.interactions.text.masking import REREAD, possible, published
from probing.report import figures
from probing.report.markdown import md_table
from probing.store.results import ResultStore
from probing.studies import Context

VALUES = ("cls", "mean", "all")
MEASURES = ("T", "T_relative", "B")
ROUNDING = 1e-6
"""T below this is rounding of float32 states."""
ENDS = """## The last layer less the first

T: mean of the paired differences [95 % t interval], t test; T_relative: their median [95 % bootstrap interval], Wilcoxon's test. p:
Holm over the values and maskings of an encoder. Where T of the first layer is 0 with a masking, T cannot be smaller in a later
layer: there the difference says that the network mixes words, and no more."""
SHOWN = ["encoder", "paper_name", "layer", "accuracy", "accuracy_low", "accuracy_high", "majority", "probe", "n_train"]


@dataclass
class InteractionLayers:
    """T per layer over sentences of the data.

    Args:
        sentences: how many are drawn (by the run's seed) from `split`.
        words: fewest and most words of a sentence.
        lengths: of segments.
        split: train, dev or test.
        values: poolings of the encoder, or all; null: of cls, mean and all those that the encoder and each masking have.
        maskings: what absent words are (`probing.interactions.text.masking`); null: the published one alone, pad, or zero where the
            encoder has no such token.
        method, budget: see `probing.interactions.segment`.
        probing: task files, a run folder or rows.csv; null: no accuracies.
        probe: of task files: the protocol.
        train_size: of task files: train on a stratified subset of about this size; null: on all.
    """

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
        if len(self.words) != 2 or self.words[0] > self.words[1]:
            raise ConfigError(f"study.words={self.words}: give the fewest and the most words of a sentence, such as [8, 12]")
        if self.sentences < 1:
            raise ConfigError(f"study.sentences={self.sentences} must be at least 1")
        if self.split not in ("train", "dev", "test"):
            raise ConfigError(f"study.split={self.split!r} is unknown (allowed: train, dev, test)")
        if self.maskings is not None and (not self.maskings or len(set(self.maskings)) < len(self.maskings)):
            raise ConfigError(f"study.maskings={self.maskings} must be a list of different maskings, such as [pad, delete]")

    def measure(self, context: Context) -> pd.DataFrame:
        encoder, frames = context.encoder, []
        maskings = self.maskings or [published(encoder)]
        values = {masking: self._values(encoder, masking) for masking in maskings}
        for task in context.tasks:
            texts = task.splits[self.split].texts
            cases = draw_cases(texts, self.sentences, None, tuple(self.words), self.lengths, context.seed)
            for masking in maskings:
                rows = layer_interactions(
                    encoder, cases, context.results.root, values[masking], masking,
                    method=self.method, budget=self.budget, seed=context.seed,
                )  # fmt: skip
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
        if masking not in (allowed := possible(encoder)) or masking == "replace":
            allowed = [name for name in allowed if name != "replace"]
            raise ConfigError(f"study.maskings: {masking!r} is not possible for {encoder.name} (allowed: {', '.join(allowed)})")
        have = (*encoder.poolings, *(["all"] if masking not in REREAD else []))
        values = self.values or [value for value in VALUES if value in have]
        if unknown := [value for value in values if value not in have]:
            raise ConfigError(
                f"study.values={values}: {encoder.name} with masking={masking} has no {unknown[0]!r} ({', '.join(have)})"
            )
        return values

    def _accuracies(self, context: Context) -> pd.DataFrame:
        """Probing rows of the encoder at mean pooling: `SHOWN` and `task`."""
        encoder, path = context.encoder, Path(self.probing or "").expanduser()
        written = path / "rows.csv" if path.is_dir() else path
        if not written.is_file():
            if not path.is_dir():
                raise ConfigError(
                    f"study.probing={self.probing!r}: no such file or folder; give task files, a run folder or rows.csv"
                )
            tasks, cells = SentEvalFolder(str(path)).tasks(None), ResultStore(context.home / "cells")
            table = evaluate(
                tasks, [encoder], store=context.store, cells=cells, probe=self.probe, poolings=("mean",),
                seeds=context.seeds, controls=(), floors=(), train_size=self.train_size,
            )  # fmt: skip
        else:
            try:
                table = ResultTable.read_csv(written)
            except (KeyError, AttributeError, ValueError) as error:
                raise ConfigError(f"study.probing={self.probing!r}: {written} is no rows.csv of probing run ({error})") from None
        frame = table.frame
        frame = frame[(frame.role == "probe") & (frame.pooling == "mean") & (frame.status == "done")]
        frame = frame[frame.encoder_fingerprint == fingerprint(encoder)].assign(encoder=encoder.name)
        if frame.empty:
            raise ConfigError(f"study.probing={self.probing!r} holds no accuracies of {encoder.name} at mean pooling")
        return frame.groupby(["task", "layer"], sort=False).first().reset_index()[["task", *SHOWN]]

    def report(self, frame: pd.DataFrame, folder: Path) -> None:
        inner = frame[frame.kind == "interaction"].astype({"layer": int})
        means, moves = averages(inner), steps(inner)
        means.to_csv(folder / "layers.csv", index=False)
        moves.to_csv(folder / "steps.csv", index=False)
        (folder / "table.md").write_text(_markdown(means, moves), encoding="utf-8")
        for (data, masking), part in means.groupby(["data", "masking"], sort=False):
            (folder / f"figure-layers-{data}-{masking}.svg").write_text(figures.strengths(part), encoding="utf-8")
        outer = frame[frame.kind == "probing"]
        if len(outer):
            outer = outer[["task", *SHOWN]].astype({"layer": int, "n_train": int})
            outer.to_csv(folder / "profile.csv", index=False)
            for (data, masking), part in means[means.encoder.isin(outer.encoder)].groupby(["data", "masking"], sort=False):
                (folder / f"figure-profile-{data}-{masking}.svg").write_text(figures.profile(outer, part), encoding="utf-8")


def averages(frame: pd.DataFrame) -> pd.DataFrame:
    """T and B of each layer as means over sentences with 95 % t intervals, T_relative as median with a bootstrap interval.

    One line per data, measure, encoder, value, masking and layer: estimate, low, high, sentences (those where the number exists).
    """
    lines = []
    for data, part in frame.groupby("data", sort=False):
        for measure in MEASURES:
            for key, here in part.groupby(["encoder", "value", "masking", "layer", "column"], sort=False):
                numbers = here.groupby("text")[measure].mean().dropna()
                found = (median_ci if measure == "T_relative" else mean_ci)(numbers)
                lines.append((data, measure, *key, found.value, found.lower, found.upper, len(numbers)))
    return pd.DataFrame(lines, columns="data measure encoder value masking layer column estimate low high sentences".split())


def steps(frame: pd.DataFrame) -> pd.DataFrame:
    """Paired differences between layers over the same sentences: of T means and t tests, of T_relative medians and Wilcoxon's.

    One line for every two successive layers, and one, `whole`, for the last layer less the first. `p_holm`: of successive steps
    Holm's over those of an encoder, data, value, masking and measure; of whole lines Holm's over the values and maskings of an
    encoder, data and measure. Sentences without T_relative at one layer are left out.
    """
    lines = []
    for key, part in frame.groupby(["data", "encoder", "value", "masking"], sort=False):
        for measure in ("T", "T_relative"):
            wide = part.pivot_table(measure, "text", "layer", dropna=False)
            layers = sorted(part.layer.unique())
            ends = [(layers[0], layers[-1], True)] if len(layers) > 1 else []
            for low, high, whole in [*((a, b, False) for a, b in zip(layers[:-1], layers[1:], strict=True)), *ends]:
                both = wide.reindex(columns=[low, high]).dropna()
                found, p = paired(both[high] - both[low], robust=measure == "T_relative")
                lines.append((*key, measure, low, high, whole, found.value, found.lower, found.upper, len(both), p))
    frame = pd.DataFrame(lines, columns="data encoder value masking measure from_ to whole difference low high sentences p".split())
    frame["p_holm"] = frame.p
    successive = frame[~frame.whole.astype(bool) & frame.p.notna()]
    whole = frame[frame.whole.astype(bool) & frame.p.notna()]
    for rows, family in ((successive, ["data", "encoder", "value", "masking", "measure"]), (whole, ["data", "encoder", "measure"])):
        for _, part in rows.groupby(family, sort=False):
            frame.loc[part.index, "p_holm"] = holm(part.p)
    return frame


def verdict(moves: pd.DataFrame, alpha: float = 0.05) -> str:
    """Whether a measure grows at every step, for the lines of one encoder, value and measure.

    >>> verdict(pd.DataFrame({"whole": [False, False], "difference": [1.0, -0.1], "p_holm": [0.01, 0.2]}))
    'grows at 1 of 2 steps, falls at 0, 1 not told'
    """
    inner = moves[~moves.whole]
    told = inner.p_holm < alpha
    grows, falls = int((told & (inner.difference > 0)).sum()), int((told & (inner.difference < 0)).sum())
    return f"grows at {grows} of {len(inner)} steps, falls at {falls}, {len(inner) - grows - falls} not told"


def _markdown(means: pd.DataFrame, moves: pd.DataFrame) -> str:
    parts = [
        "# Interaction strength layer by layer",
        "",
        "T and B: mean over sentences [95 % t interval]. T_relative = T / |v(N) - v(empty)|: median over the sentences where it",
        "exists [95 % bootstrap interval], since it has far outliers where v(N) is near v(empty). Below 1e-6 is rounding.",
        "Verdicts: paired differences of successive layers, Holm over the steps of a line at 0.05; differences in steps.csv.",
    ]
    ends = _ends(means, moves)
    if len(ends):
        parts += ["", ENDS, "", md_table(ends)]
    for (data, measure), part in means.groupby(["data", "measure"], sort=False):
        lines = []
        for (encoder, value, masking), here in part.groupby(["encoder", "value", "masking"], sort=False):
            cells = {f"layer {row.layer}": _interval(row.estimate, row.low, row.high) for row in here.itertuples()}
            mine = moves[
                (moves[["data", "encoder", "value", "masking", "measure"]] == [data, encoder, value, masking, measure]).all(axis=1)
            ]
            said = {"layer to layer": verdict(mine)} if len(mine) else {}
            lines.append(
                {"encoder": encoder, "value": value, "masking": masking, "sentences": here.sentences.max(), **said, **cells}
            )
        parts += ["", f"## {measure}, {data}", "", md_table(pd.DataFrame(lines).fillna(""))]
    return "\n".join(parts) + "\n"


def _ends(means: pd.DataFrame, moves: pd.DataFrame) -> pd.DataFrame:
    """The last layer less the first, in words: a line per data, encoder, value and masking."""
    by = ["data", "encoder", "value", "masking"]
    lines = []
    for key, part in moves[moves.whole.astype(bool)].groupby(by, sort=False):
        line = dict(zip(by, key, strict=True))
        for row in part.itertuples():
            line |= {f"{row.measure}: last less first": _interval(row.difference, row.low, row.high)}
            line |= {f"{row.measure}: p": "" if math.isnan(row.p_holm) else f"{row.p_holm:.2g}"}
        first = means[(means[[*by, "measure"]] == [*key, "T"]).all(axis=1)].sort_values("layer").estimate.iloc[0]
        lines.append(line | {"T of the first layer": "0: forced to grow" if abs(first) < ROUNDING else f"{first:.3g}"})
    return pd.DataFrame(lines)


def _interval(value: float, low: float, high: float) -> str:
    """
    >>> _interval(0.01234, 0.01, 0.0145)
    '0.0123 [0.01, 0.0145]'
    """
    return "" if math.isnan(value) else f"{value:.3g} [{low:.3g}, {high:.3g}]"

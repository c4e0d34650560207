"""The result of an adaptive search for the best layers (`probing.evaluation.adaptive`), and its files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from probing.data.task import Task
from probing.evaluation.table import ResultTable

_NOTE = """Samples of the tasks, grown until the differences of layers, averaged over the tasks, were as precise as asked for.
Accuracies are those of a cross-validation on sentences of the train split, to rank with and not to publish; by default all layers
of a task are fitted at one C, 0.01 times the number of classes less one. Some of the sentences choose the layer (dev), the others
report (test); train: of one fit. Tied: layer/pooling, the best among them; of a task, after Holm's correction; of the mean, those
that are not separated. Tests and intervals are at 0.05 / 2^r in round r, so that they hold with 95 % over all rounds. ±: half-width
of the widest 95 % interval of a difference to the best among the layers that are not separated, in points. Of all: share of the
task's sentences that was used.
"""


@dataclass(frozen=True)
class Flash:
    """The result of `probing.flash`.

    Attributes:
        answers: a line per encoder and task, and one for the mean over tasks: best layer and pooling (by dev), test accuracy
            (0-1) with its interval, `tied` pairs (layer, pooling), sizes, the widest half-width among the layers that are not
            separated (points), and why the search stopped.
        rounds: a line per round, encoder, layer and pooling: mean accuracies, difference to the best of the mean, its
            half-width (points), whether it is separated, and the `family` of the comparison: the encoder, or "encoders" for
            their bests.
        tasks, table: the samples of the last round, and their rows.
    """

    answers: pd.DataFrame
    rounds: pd.DataFrame
    tasks: tuple[Task, ...]
    table: ResultTable

    def write(self, folder: Path) -> None:
        answers = self.answers.assign(
            tied=[" ".join(f"{layer}/{pooling}" for layer, pooling in tied) for tied in self.answers.tied]
        )
        answers.to_csv(folder / "flash.csv", index=False)
        self.rounds.to_csv(folder / "flash-rounds.csv", index=False)
        head = "| task | encoder | layer | tied | accuracy | interval | train / dev / test | classes | of all | ± | why |"
        lines = ["# Flash", "", _NOTE, head, "|---" * 11 + "|"]
        for row in answers.itertuples():
            interval = f"{100 * row.accuracy_low:.1f}–{100 * row.accuracy_high:.1f}"
            lines.append(
                f"| {row.task} | {row.encoder} | {row.layer} {row.pooling} | {row.tied} | {100 * row.accuracy:.1f} | {interval} | "
                f"{row.n_train} / {row.n_dev} / {row.n_test} | {row.n_classes} | {100 * row.share:.0f} % | {row.half_width:.1f} | "
                f"{row.why} |"
            )
        last = self.rounds[self.rounds["round"] == self.rounds["round"].max()] if len(self.rounds) else self.rounds
        for row in last[last.family == "encoders"].itertuples() if len(last) else ():
            verdict = "separated" if row.separated else "not separated"
            difference = f"{row.difference:.1f} points below {row.against} in the mean, ± {row.half_width:.1f}"
            lines += ["", f"{row.encoder} {row.pooling} {row.layer}: {difference}: {verdict}."]
        (folder / "flash.md").write_text("\n".join(lines) + "\n", encoding="utf-8")

"""`probing interact`: the interactions of words in one sentence, as text: for each class or layer v(N), v(empty), B, B_max, B_min,
T and T / |v(N) - v(empty)|, where contexts were sampled with standard errors and T split; then the best partitions as brackets."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path

from probing.encoders.base import Encoder
from probing.errors import ConfigError
from probing.interactions.exchange import write_values
from probing.interactions.intervals import EXACT_ROWS, planned_rows
from probing.interactions.options import Estimator, Masking
from probing.interactions.text.game import TextGame, TextInteraction, drawn, seconds_per_row, text_interactions
from probing.interactions.text.heads import load_head
from probing.log import bar, human_seconds, info

ESTIMATED = 1000
"""Model rows above which the time is estimated first."""


@dataclass
class Interact:
    text: str = ""
    segment: str | None = None
    value: str | None = None
    target: str = "predicted"
    head: str | None = None
    layers: tuple[int, ...] | None = None
    masking: str = "pad"
    replacement: str | None = None
    method: str = "exact"
    budget: int | None = None
    seed: int = 0
    shapiq: str | None = None

    def run(self, encoder: Encoder) -> str:
        """The text that the command prints; ConfigError for a mistake in the options, or a sentence that is too long."""
        head = load_head(self.head, encoder) if self.head else None
        masking, estimator = Masking(self.masking, self.replacement), Estimator(self.method, self.budget, self.seed)
        game = TextGame(encoder, self.text, self.value, masking, layers=self.layers, target=self.target, head=head)
        start, stop = segment_of(self.segment, game.n_players)
        planned = planned_rows(stop - start, game.n_players - (stop - start), estimator)
        if ESTIMATED < planned <= max(EXACT_ROWS, self.budget or 0):  # more is refused below
            info(f"about {planned:,} model rows, {human_seconds(planned * seconds_per_row(game))}")
        with bar("model rows", planned) as game.advance:
            interactions, rows = text_interactions(game, (start, stop), estimator)
        words = game.sentence.words
        if self.shapiq is not None:
            about = {"encoder": encoder.name, "words": list(words), "value": game.value, "masking": game.sentence.masking}
            info(f"{self.shapiq}: {len(write_values(game, game.columns, Path(self.shapiq).expanduser(), about))} files for shapiq")
        of = f"{game.value} of class" if game.head else f"v_f, {game.value}"
        lines = [
            f"{encoder.name}: {' '.join(words)}",
            f"segment {start}:{stop} [{' '.join(words[start:stop])}] of {len(words)} words, masking={game.sentence.masking}, "
            f"value={of}, method={self.method}: {rows:,} model rows",
            *([f"predicted class: {game.predicted}"] if game.predicted is not None else []),
            "",
            *_table("class" if game.head else "layer", interactions),
            "",
            *_partitions(words, interactions, [one.column if game.head else one.column.split()[0] for one in interactions]),
        ]
        return "\n".join(lines)


def segment_of(text: str | None, n_words: int) -> tuple[int, int]:
    """The segment that start:stop names; None is the whole sentence; ConfigError if it is not start:stop, or out of range.

    >>> segment_of("3:6", 8), segment_of(None, 8)
    ((3, 6), (0, 8))
    """
    if text is None:
        return 0, n_words
    given = re.fullmatch(r"(\d+):(\d+)", text)
    start, stop = map(int, given.groups()) if given else (0, 0)
    if not 0 <= start < stop <= n_words:
        raise ConfigError(f"segment={text}: give start:stop in words, 0 <= start < stop <= {n_words}, such as segment=0:{n_words}")
    return start, stop


def _table(columns: str, interactions: list[TextInteraction]) -> list[str]:
    sampled = interactions[0].interaction.method != "exact"
    split = ["T split"] if sampled else []
    rows = [[columns, "v(N)", "v(empty)", "B", "B_max", "B_min", "T", *split, "T/|v(N)-v(empty)|"]]
    for one in interactions:
        r = one.interaction
        pairs = ((r.B, r.B_stderr), (r.B_max, r.B_max_stderr), (r.B_min, r.B_min_stderr), (r.T, r.T_stderr))
        numbers = [f"{x + 0.0:.4g}" + (f" ± {error:.2g}" if sampled else "") for x, error in pairs]
        numbers += [f"{r.T_split:.4g}"] * sampled
        relative = "-" if isnan(one.T_relative) else f"{one.T_relative:.4g}"
        rows.append([one.column, f"{one.whole:.4g}", f"{one.empty:.4g}", *numbers, relative])
    return aligned(rows)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table, the first column to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join([row[0].ljust(widths[0]), *(x.rjust(w) for x, w in zip(row[1:], widths[1:], strict=True))]) for row in rows]


def _partitions(words: tuple[str, ...], interactions: list[TextInteraction], names: list[str]) -> list[str]:
    """The best partitions as brackets; columns with the same partition share a line."""
    lines: dict[str, list[str]] = {}
    for name, which in (("B_max", "max_partitions"), ("B_min", "min_partitions")):
        for one, column in zip(interactions, names, strict=True):
            partitions = getattr(one.interaction, which)
            ties = f" (the finest of {len(partitions)} that tie)" if len(partitions) > 1 else ""
            lines.setdefault(f"{name}  {drawn(words, partitions[0])}{ties}", []).append(column)
    return [f"{line}   {', '.join(columns)}" if len(names) > 1 else line for line, columns in lines.items()]

"""`probing attribute`: how much each word of a sentence speaks for a class, by several methods side by side, as text and HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan

import numpy as np

from probing.attributions.attribution import Attribution
from probing.attributions.coalitions import CoalitionTable, coalition_table
from probing.attributions.indices import GAMES
from probing.attributions.methods import METHODS, Settings, check, default_masking, explain, needs_table
from probing.attributions.pictures import terms_picture, tree_picture
from probing.attributions.sampling import planned_rows
from probing.attributions.word_function import NotApplicable
from probing.encoders.base import Encoder
from probing.errors import ConfigError
from probing.files import page_file, write_page
from probing.interactions.options import Masking
from probing.interactions.text.command import aligned
from probing.interactions.text.game import TextGame, seconds_per_row
from probing.interactions.text.heads import LinearHead, head_of, load_head, no_head
from probing.log import bar, human_seconds, info
from probing.neurons.coloured import page, spans

OF_ONE_SENTENCE = tuple(name for name in METHODS if name != "frequency")
"""Methods that need no training sentences."""

COLOURS = "Orange: above 0, blue: below 0; the largest score of a method has the full colour; numbers show on hovering."

ESTIMATED = 1000
"""Model rows above which the time is estimated first."""


@dataclass
class Attribute:
    """Options of the command.

    Args:
        text: a sentence; words are parted by blanks.
        method: names of `methods`, with commas between.
        masking: None: mask for masked language models, else attention where it is possible, else the published one.
        target: predicted, a class, or two as a-b, whose logits are subtracted.
        head: a folder of a fitted head; None: the one of the checkpoint.
        layer: of Grad-CAM; None: the head's.
        budget: model rows of a game at most; up to 12 words all 2^n are read, more words are sampled.
        html: a file to write, with the text in the colours of the scores; where a game read all coalitions of several words, also
            with the interaction tree and the AND-OR graph of the sentence.
    """

    text: str = ""
    method: str = "shapley,ig,loo,lime"
    masking: str | None = None
    replacement: str | None = None
    target: str = "predicted"
    head: str | None = None
    layer: int | None = None
    budget: int | None = None
    seed: int = 0
    html: str | None = None

    def run(self, encoder: Encoder) -> str:
        """The text that the command prints; ConfigError for a mistake in the options, or where no method is applicable."""
        if self.method.strip().startswith("["):
            plain = ",".join(name.strip(" '\"") for name in self.method.strip(" []").split(","))
            raise ConfigError(f"method={self.method}: a list is written without brackets, method={plain or 'shapley,loo'}")
        methods = list(dict.fromkeys(name.strip() for name in self.method.split(",") if name.strip()))
        if not methods:
            raise ConfigError(f"method={self.method!r} names no method, such as method=shapley,loo")
        words = self.text.split()
        if not words:
            raise ConfigError("the text holds no word")
        if self.seed < 0:
            raise ConfigError(f"seed={self.seed} must not be below 0")
        if self.html is not None:
            page_file(self.html)
        masking = Masking(self.masking or default_masking(encoder), self.replacement)
        missing: dict[str, str] = {}
        for name in methods:
            try:
                check(encoder, name, masking.kind, OF_ONE_SENTENCE)
            except NotApplicable as error:
                missing[name] = str(error)
        head = self._head(encoder)
        table = self._table(encoder, head, masking, [name for name in methods if name in GAMES])
        made: dict[str, Attribution] = {}
        settings = Settings(self.layer, self.budget, self.seed)
        for name in methods:
            if name not in missing:
                try:
                    made[name] = explain(encoder, head, self.text, name, masking, self.target, table, settings=settings)
                except NotApplicable as error:
                    missing[name] = str(error)
        if not made:
            raise ConfigError("; ".join(missing.values()))
        title = f"{encoder.name}: {' '.join(words)}"
        about = self._about(encoder, head, masking, list(made.values()))
        if self.html is not None:
            sections = [(name, _coloured(words, one)) for name, one in made.items()] + self._pictures(words, table)
            write_page(self.html, page(title, sections, f"{about}. {COLOURS}"))
        notes = [f"{name}: n/a, {why}" for name, why in missing.items()]
        notes += [f"{name} °: all scores are equal, which is no ranking" for name, one in made.items() if _equal(one)]
        return "\n".join([title, about, "", *_lines(words, made), *([""] if notes else []), *notes])

    def _head(self, encoder: Encoder) -> LinearHead:
        if self.head:
            return load_head(self.head, encoder)
        head = head_of(encoder)
        if head is None:
            raise ConfigError(
                f"{no_head(encoder)}, so there is no prediction to explain: take head=FOLDER (probing run +experiment=explanations "
                "keeps fitted heads in run.dir/heads), or a checkpoint of probing train objective=sst2 without attention"
            )
        return head

    def _table(self, encoder: Encoder, head: LinearHead, masking: Masking, games: Sequence[str]) -> CoalitionTable | None:
        """The table of all coalitions, for games on few words."""
        n, whole = len(self.text.split()), needs_table(self.text, games)
        rows = 2**n if whole else sum(planned_rows(name, n, self.budget) for name in games)
        if whole and self.budget is not None and self.budget < rows:
            raise ConfigError(
                f"budget={self.budget}: up to 12 words all coalitions are read, here 2^{n} = {rows:,} model rows; leave budget "
                f"out, or take method=loo or add-one alone ({n + 2} rows)"
            )
        if rows > ESTIMATED:
            seconds = seconds_per_row(TextGame(encoder, self.text, "logit", masking, target="all", head=head))
            info(f"about {rows:,} model rows, {human_seconds(rows * seconds)}")
        if not whole:
            return None
        with bar("model rows", rows) as advance:
            return coalition_table(encoder, head, self.text, masking, advance=advance)

    def _pictures(self, words: Sequence[str], table: CoalitionTable | None) -> list[tuple[str, str]]:
        """The interaction tree and the AND-OR graph of several words, where all coalitions were read."""
        if table is None or len(words) < 2:
            return []
        v = table.value(self.target)
        return [
            (f"Interaction tree: words and joints sum to {v[-1]:+.4g} - ({v[0]:+.4g})", tree_picture(words, v)),
            ("AND-OR graph: the strongest salient terms", terms_picture(words, v)),
        ]

    def _about(self, encoder: Encoder, head: LinearHead, masking: Masking, made: Sequence[Attribution]) -> str:
        known = next((one for one in made if not isnan(one.whole)), None)
        task = head.made.get("task") or head.made.get("data", {}).get("task", "a task")
        value = f"logit of {known.target if known else self.target}" + (" (predicted)" if self.target == "predicted" else "")
        whole = "" if known is None else f", whole sentence {known.whole:+.4g}"
        empty = next((f", no word {one.empty:+.4g}" for one in made if not isnan(one.empty)), "")
        return f"head: {task}, layer {head.layer}, {head.pooling}; masking={masking.kind}; {value}{whole}{empty}"


def _coloured(words: Sequence[str], one: Attribution) -> str:
    return spans(words, one.scores.tolist(), float(np.abs(one.scores).max()), " ")


def _equal(one: Attribution) -> bool:
    """Whether the scores give no ranking of several words."""
    return len(one.scores) > 1 and not one.ranks


def _lines(words: Sequence[str], made: dict[str, Attribution]) -> list[str]:
    """A line for each word and a column for each method; then sum, gap and model rows."""
    rows = [["", *(f"{name} °" if _equal(one) else name for name, one in made.items())]]
    for k, word in enumerate(words):
        errors = [None if one.stderr is None else one.stderr[k] for one in made.values()]
        scores = [f"{one.scores[k]:+.4f}" for one in made.values()]
        rows.append([word, *(s if e is None else f"{s} ± {e:.2g}" for s, e in zip(scores, errors, strict=True))])
    own = list(made.values())
    rows.append(["sum", *(f"{one.scores.sum():+.4f}" if one.additive else "-" for one in own)])
    rows.append(["gap", *("-" if isnan(one.gap) else f"{one.gap:.2%}" for one in own)])
    rows.append(["model rows", *(f"{one.rows:,}" for one in own)])
    made_lines = aligned(rows)
    return [*made_lines[: len(words) + 1], "", *made_lines[len(words) + 1 :]]

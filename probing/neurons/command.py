"""`probing neuron`: what excites one unit of a layer, in a text of the user's: the words at both ends, and sentences with the value
at each word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from probing.encoders.base import Encoder
from probing.encoders.pooling import WORD_POOLINGS
from probing.errors import ConfigError, DataError
from probing.files import page_file, write_page
from probing.log import human_count
from probing.neurons.coloured import page, spans
from probing.neurons.ranking import Scale
from probing.neurons.words import Type, extreme_sentences, types, z_scores
from probing.store.vectors import Store
from probing.types import Representation, Values

MARKED = 1.0
"""Words of a sentence whose |z| is at least this have it printed behind them."""


@dataclass
class Neuron:
    """Options of the command.

    Args:
        file, text: a file with a sentence a line, or one sentence; words are parted by blanks.
        pooling: mean, first or last of the pieces of a word.
        least: times that a word type occurs at least.
        words, sentences: how many are shown at each end.
        html: a file to write, with the sentences in colours.
    """

    layer: int = 0
    unit: int = 0
    file: str | None = None
    text: str | None = None
    pooling: str = "mean"
    least: int = 2
    words: int = 10
    sentences: int = 3
    html: str | None = None

    def run(self, encoder: Encoder, store: Store) -> str:
        """The text that the command prints; ConfigError for a mistake in the options, DataError for a text without words, or a unit
        that does not vary."""
        if self.html is not None:
            page_file(self.html)
        layer, unit = self._place(encoder)
        texts = self._texts()
        representation = Representation(layer, f"word-{self.pooling}")
        vectors = store.vectors(encoder, texts, [representation.pooling])
        lengths = [len(text.split()) for text in texts]
        words = [word for text in texts for word in text.split()]
        at = np.array([[k, k + 1] for n in lengths for k in range(n)], np.int64)
        owners = [text for text, n in zip(texts, lengths, strict=True) for _ in range(n)]
        states = vectors.rows(owners, at).get(representation)  # (words, d)
        values = states[:, unit].astype(float)
        if not (scale := Scale.of(states)).live[unit]:
            others = f"; of this layer so are {', '.join(map(str, scale.dead))}" if scale.live.any() else ""
            raise DataError(
                f"unit {unit} does not vary over {human_count(len(words), 'word')}: it is dead, or the text too short{others}"
            )
        z = z_scores(values)
        starts = np.concatenate([[0], np.cumsum(lengths)])
        parts = [(own.split(), z[a:b]) for own, (a, b) in zip(texts, pairwise(starts.tolist()), strict=True)]
        high, low = extreme_sentences(lengths, z, self.sentences)
        title = f"{encoder.name}, layer {layer} ({encoder.layer_names[layer]}), unit {unit}"
        if self.html is not None:
            most = float(np.quantile(np.abs(z), 0.99))
            ends = (("Highest", high), ("Lowest", low))
            sections = [
                (f"{end}: sentence {k + 1}", spans(parts[k][0], parts[k][1].tolist(), most, " "))
                for end, rows in ends
                for k in rows
            ]
            write_page(self.html, page(title, sections))
        ranked = types(words, z, self.least)
        return "\n".join(
            [
                f"{title}: {human_count(len(words), 'word')} of {human_count(len(texts), 'sentence')}, mean {values.mean():.4g}, "
                f"standard deviation {values.std():.4g}",
                "z: standard deviations from the mean, of a word the mean over its places; words seen "
                f"{human_count(self.least, 'time')} or more: {len(ranked):,}",
                "",
                *_ends(ranked, self.words),
                *(line for name, rows in (("highest", high), ("lowest", low)) for line in _lines(name, parts, rows)),
            ]
        )

    def _place(self, encoder: Encoder) -> tuple[int, int]:
        n = len(encoder.dims)
        if not -n <= self.layer < n:
            raise ConfigError(f"layer={self.layer}: {encoder.name} has the layers 0 to {n - 1}")
        layer = self.layer % n
        if not 0 <= self.unit < encoder.dims[layer]:
            raise ConfigError(f"unit={self.unit}: layer {layer} of {encoder.name} has the units 0 to {encoder.dims[layer] - 1}")
        if f"word-{self.pooling}" not in WORD_POOLINGS:
            raise ConfigError(f"pooling={self.pooling!r} is unknown (allowed: mean, first, last, of the pieces of a word)")
        for name in ("least", "words"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)} must be at least 1")
        if self.sentences < 0:
            raise ConfigError(f"sentences={self.sentences} must be at least 0")
        return layer, self.unit

    def _texts(self) -> list[str]:
        """The distinct sentences, in their order."""
        if (self.file is None) == (self.text is None):
            raise ConfigError('give a text: file=FILE (a sentence a line) or text="…", one of the two')
        if self.text is not None:
            lines = [self.text]
        else:
            path = Path(str(self.file)).expanduser()
            try:
                lines = path.read_text(encoding="utf-8-sig").split("\n")  # U+2028 parts no lines
            except (OSError, UnicodeDecodeError) as error:
                raise DataError(f"file={path}: cannot be read as UTF-8 text ({error})") from None
        texts = list(dict.fromkeys(" ".join(line.split()) for line in lines if line.strip()))
        if not texts:
            raise DataError(f"{'text' if self.file is None else self.file} holds no word")
        return texts


def _ends(ranked: Sequence[Type], n: int) -> list[str]:
    """Both ends side by side, as a table."""
    if not ranked:
        return ["no word occurs so often: lower it with least=1, or give more text", ""]
    rows = [["high end", "count", "z", "low end", "count", "z"]]
    for up, down in zip(ranked[:n], ranked[::-1][:n], strict=True):
        rows.append([up.word, str(up.count), f"{up.z:+.2f}", down.word, str(down.count), f"{down.z:+.2f}"])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [text.ljust(w) if k in (0, 3) else text.rjust(w) for k, (text, w) in enumerate(zip(row, widths, strict=True))]
        lines.append("  ".join([*cells[:3], "", *cells[3:]]))
    return [*lines, ""]


def _lines(name: str, parts: Sequence[tuple[list[str], Values]], rows: Sequence[int]) -> list[str]:
    """Sentences with the z of words that stand out."""
    lines = []
    for k in rows:
        words, z = parts[k]
        shown = (f"{word}[{own:+.1f}]" if abs(own) >= MARKED else word for word, own in zip(words, z, strict=True))
        lines.append(f"{name}, sentence {k + 1}: {' '.join(shown)}")
    return lines

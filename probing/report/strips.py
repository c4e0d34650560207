"""Pairs as coloured text: both texts, each part with the number and the colour of its difference in log p."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from html import escape

import pandas as pd

from probing.behaviour.strips import Part
from probing.neurons.coloured import page, spans

TITLE = "Pairs, token by token: log p of the right text less that of the wrong one, in nats"


def lines(parts: Sequence[Part], names: Sequence[str] = ("right", "wrong"), before: str = "") -> str:
    """The two texts as HTML, behind what stands `before` them; numbers and colours alike: the difference of each part."""
    values, most = [part.difference for part in parts], max((abs(part.difference) for part in parts), default=0.0)
    made = []
    for name, side in zip(names, ("first", "second"), strict=True):
        pieces = [" ".join(getattr(part, side)) or "–" for part in parts]
        made.append(f"{escape(' '.join(filter(None, (f'{name}:', before))))} {spans(pieces, values, most, ' ', shown=True)}")
    sums = [sum(getattr(part, f"{side}_log_p") for part in parts) for side in ("first", "second")]
    return "\n".join([*made, f"log p {sums[0]:.2f} and {sums[1]:.2f}, difference {sums[0] - sums[1]:+.2f}"])


def page_of(sections: Iterable[tuple[str, str]]) -> str:
    """A page of headings with `lines`."""
    return page(TITLE, sections)


def of_items(frame: pd.DataFrame) -> str:
    """The page of the items of a study whose strips are kept, of each encoder and protocol the largest differences first."""
    sections = []
    for (data, encoder, protocol), part in frame[frame["strip"].notna()].groupby(["data", "encoder", "protocol"], sort=False):
        ordered = part.sort_values("difference", ascending=False)
        ends = ("most decisive", ordered[ordered.difference > 0]), ("worst", ordered[ordered.difference < 0][::-1])
        for title, rows in ends:
            for rank, row in enumerate(rows.to_dict("records"), 1):
                head = f"{data}, {encoder}, {protocol}: {title} {rank}, {row['paradigm']}, item {row['item']}"
                before, *parts = json.loads(row["strip"])
                sections.append((head, lines([Part(tuple(a), tuple(b), x, y) for a, b, x, y in parts], before=before)))
    return page_of(sections)

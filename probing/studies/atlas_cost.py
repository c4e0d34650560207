"""What the columns of an atlas would cost, before anything is measured."""

from __future__ import annotations

import time

from probing.log import human_count, human_seconds
from probing.studies.atlas_parts import NO_CORPUS, Parts


def seconds_of_row(parts: Parts) -> float:
    """Seconds of a model row, from a batch of short test sentences."""
    texts = sorted(parts.tasks[0].test.texts, key=len)[:32]
    items, _ = parts.encoder.tokenize(texts)
    parts.encoder.forward(items)
    start = time.perf_counter()
    parts.encoder.forward(items)
    return (time.perf_counter() - start) / len(texts)


def cost(parts: Parts, column: str) -> str:
    """What a column would measure, in words."""
    sentences, (least, most), layers = (
        [task for task in parts.tasks if not task.of_words],
        parts.size.words,
        len(parts.encoder.dims),
    )
    rows = 0.0
    if column == "encoded":
        texts = {text for task in parts.tasks for split in task.splits.values() for text in split.texts}
        rows = len(texts) * (1 + parts.size.twins)
        what = f"{len(parts.tasks)} properties, {layers} layers, {len(texts)} sentences, {parts.size.twins} random twins"
    elif column == "where":
        return f"{len(parts.tasks)} properties at one layer each, {parts.size.rotations} random bases"
    elif column == "interacting":
        rows = len(sentences) * parts.size.sentences * 2 ** ((least + most) / 2)
        what = f"{len(sentences)} properties, {parts.size.sentences} sentences each of {least} to {most} words"
    elif column == "used":
        if reason := parts.no_pairs:
            return f"not applicable: {reason}"
        n = len(parts.with_pairs)
        number = "all" if parts.size.pairs is None else parts.size.pairs
        rows = n * layers * (1 + parts.draws) * 2 * (parts.size.pairs or 1000)
        what = f"{n} properties, {layers} layers, {number} pairs each, {parts.draws} random draws"
    else:
        corpora = len(parts.study.corpora or ())
        return f"{len(sentences)} properties, {corpora} other corpora" if corpora else f"not applicable: {NO_CORPUS}"
    return f"{what}: about {human_count(round(rows), 'model row')}, {human_seconds(rows * seconds_of_row(parts))} of the model"

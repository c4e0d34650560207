"""Rows of an atlas: one number each, from tables and from the frames of studies."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from probing.data.task import Task
from probing.encoders.base import Encoder, fingerprint
from probing.encoders.networks.architecture import Architecture
from probing.encoders.redrawn import weights_of
from probing.errors import EncoderError
from probing.evaluation.best import floors_of
from probing.evaluation.comparisons import cells_of, same_seeds
from probing.evaluation.evaluate import evaluate
from probing.evaluation.paired_tests import max_t
from probing.evaluation.table import ResultTable
from probing.evaluation.transferred import Transfer
from probing.paths import portable
from probing.report.atlas_verdicts import SURE
from probing.report.card import card_of
from probing.store.results import ResultStore, key_of
from probing.studies import Context
from probing.studies.interaction_layers import averages, steps

Row = dict[str, Any]
NAMES = (
    *(
        "encoder",
        "architecture",
        "parameters",
        "fingerprint",
        "data",
        "size",
        "property",
        "paper_name",
        "column",
        "role",
        "layer",
        "metric",
        "value",
        "low",
        "high",
        "n",
        "p",
    ),
    *("against", "against_value", "cell", "status", "reason", "facets", "items", "groups", "card"),
)
"""The columns of the rows."""


def row(task: Task, column: str, metric: str, value: float, **more: Any) -> Row:
    """A number of the atlas.

    Args:
        metric: its name in `probing.report.atlas_verdicts.METRICS`.
        more: role (layer: one of a curve; best: of the dev-best layer, or over all layers), layer, low, high, n, p, against (a
            null or floor), against_value, cell (the key of what made it), facets (a mapping, kept as JSON), card (lines that say
            what made it, JSON).
    """
    facets = json.dumps(more.pop("facets", {}), sort_keys=True)
    paper_name = f"{task.paper_name} of words" if task.of_words else task.paper_name  # tense is one of sentences, too
    of = {"property": task.name, "paper_name": paper_name, "column": column, "metric": metric, "value": value, "role": "best"}
    return {**of, "status": "done", **more, "facets": facets}


def about(context: Context) -> Row:
    """What the encoder is, in each row: name; architecture, which encoders that differ in weights alone share; the number of its
    weights, embeddings among them, empty where they cannot be reached or are packed; and its fingerprint."""
    encoder, mark = context.encoder, fingerprint(context.encoder)
    [counted] = context.finished({"study": "atlas", "weights": mark}, lambda: [{"parameters": _parameters(encoder)}])
    return {"encoder": encoder.name, "architecture": _architecture(encoder), **counted, "fingerprint": mark[:16]}


def _architecture(encoder: Any) -> str:
    if isinstance(network := getattr(encoder, "architecture", None), Architecture):
        return network.title
    described = encoder.description
    return str(next((described[name] for name in ("model_type", "class", "kind") if described.get(name)), ""))


def _parameters(encoder: Encoder) -> int | None:
    try:
        return None if getattr(encoder, "quantization", None) else sum(one.numel() for one in weights_of(encoder).parameters())
    except EncoderError:  # vectors, or code of the user's
        return None


class Noted(ResultStore):
    """A result store that notes the keys of the parts that a study reads or writes, in their order."""

    def __init__(self, store: ResultStore):
        super().__init__(store.root)
        self.keys = dict[str, None]()

    def get(self, inputs: Mapping[str, Any]) -> list[Row] | None:
        rows = super().get(inputs)
        self.keys |= {key_of(inputs): None} if rows is not None else {}
        return rows

    def put(self, inputs: Mapping[str, Any], *given: Any, **named: Any) -> list[Row]:
        self.keys[key_of(inputs)] = None
        return super().put(inputs, *given, **named)


def card_of_cell(results: ResultStore, cell: str) -> str:
    """The card of a cell as JSON; empty where it is damaged."""
    status, record = results.state(cell)
    return json.dumps(portable(card_of(record, dated=False)), ensure_ascii=False) if status == "done" else ""


def card_of_study(study: Any, context: Context, task: Task, cells: Iterable[str] = ()) -> str:
    """What made a number of a study, as JSON: its options, the task and the encoder; `cells`: keys of its parts."""
    options = {name: value for name, value in asdict(study).items() if isinstance(value, int | float | str | list) and value != []}
    sizes = "/".join(str(len(split)) for split in task.splits.values())
    encoder = context.encoder
    lines = [*(("cell", cell) for cell in cells), ("study", study.name)]
    lines += [("options", ", ".join(f"{name}={value}" for name, value in options.items()))]
    lines += [("task", f"{task.name} ({task.paper_name}): {sizes} items (train/dev/test)"), ("data", f"sha256 {task.sha256[:16]}")]
    lines += [("encoder", f"{encoder.name}, fingerprint {fingerprint(encoder)[:16]}"), ("weights", encoder.origin)]
    return json.dumps(portable([*lines, ("seed", str(context.seed))]), ensure_ascii=False)


def above_all(table: ResultTable, rows: pd.DataFrame, floors: Mapping[str, list[list[Any]]]) -> Row:
    """The test of a layer against every floor: p is the largest of two-sided p-values, 1 where a floor is as high; `against`: the
    floor that it belongs to (an intersection-union test, as in `ResultTable.best`)."""
    cells, tested = cells_of(rows.itertuples()), list[tuple[float, float, str]]()
    for name, draws in floors.items():
        for draw in draws:
            result = table.compare_cells(*same_seeds(cells, cells_of(draw), or_first=True))
            tested.append((result.p if result.difference > 0 else 1.0, float(np.mean([one.score for one in draw])), name))
    p, value, name = max(tested, default=(np.nan, np.nan, ""))
    return {"p": p, "against": name, "against_value": value}


def encoded_rows(task: Task, table: ResultTable, line: Any, results: ResultStore) -> Iterator[Row]:
    """Scores by layer against every floor, and of the dev-best layer with selectivity; `line`: of `ResultTable.best`."""
    probes = table.of_measure("probe")
    floors = floors_of(probes, line.task, line.encoder, line.probe, line.n_train)
    floors = {name: draws for name, draws in floors.items() if name != line.label_floor}
    layers = probes.where(role="probe", task=task.name)
    for layer, rows in layers.groupby("layer", sort=True):
        own = next(rows.itertuples())
        against = above_all(probes, rows, floors)
        yield row(
            task, "encoded", line.metric, own.score, role="layer", layer=int(layer), low=own.score_low, high=own.score_high,
            n=own.n_test, cell=own.cell, card=card_of_cell(results, own.cell), **against,
        )  # fmt: skip
    facets = {
        "not_separated": [layer for layer, _ in line.not_separated or ()], "floors": {
            name: float(np.mean([one.score for draw in draws for one in draw])) for name, draws in floors.items()
        },
        "label_floor": line.label_floor, "majority": line.majority, "random_sd": line.random_sd, "n_train": line.n_train,
        "missing": line.missing, "sha256": task.test_sha256, "folds": bool(task.folds),
    }  # fmt: skip
    yield row(
        task, "encoded", line.metric, line.score, layer=int(line.layer), low=line.score_low, high=line.score_high,
        n=line.n_test, cell=line.cell, against=line.floor, against_value=facets["floors"].get(line.floor), facets=facets,
        items=packed(probes.by_item(line.cell)), groups=groups_of(probes, line.cell), card=card_of_cell(results, line.cell),
    )  # fmt: skip
    if not pd.isna(getattr(line, "selectivity", np.nan)):  # few words decide some tasks: they have no such control
        yield row(
            task, "encoded", "selectivity", line.selectivity, layer=int(line.layer), low=line.selectivity_low,
            high=line.selectivity_high, n=line.n_test, against="ceiling of the control",
            against_value=line.ceiling_lookup if task.of_words else line.ceiling, card=card_of_cell(results, line.cell),
        )  # fmt: skip


def code_rows(task: Task, context: Context, pooling: str, layer: int) -> Iterator[Row]:
    """Compression of the labels by the vectors of a layer, an online code, against control labels."""
    made = evaluate(
        [task], [context.encoder], probe=None, measures=("mdl",), layers=[layer], poolings=pooling, seeds=[context.seed],
        floors=(), controls=(), store=context.store, cells=context.results, force=context.force,
    )  # fmt: skip
    for own in made.of_measure("mdl").frame.itertuples():
        yield row(task, "encoded", "compression", own.compression, layer=layer, low=own.compression_low,
                  high=own.compression_high, n=own.n_train, cell=own.cell, against="control labels",
                  against_value=own.control_compression, card=card_of_cell(context.results, own.cell))  # fmt: skip


def where_rows(task: Task, own: Mapping[str, Any], units: int, made: Row) -> Iterator[Row]:
    """The best units, and the same less random bases; `own`: the layer's row of the study `neurons`, `made`: cell and card."""
    facets = {name: own[name] for name in ("first", "live", "minimal", "minimal_accuracy", "without_minimal", "random")}
    facets |= {"p_control": own["p_control"], "p_random": own["p_random"], "units": units, "full": own["full"]}
    of = {"layer": int(own["layer"]), "n": own["n_test"], **made}
    yield row(task, "where", "best units", own["accuracy"], low=own["accuracy_low"], high=own["accuracy_high"],
              facets=facets, **of)  # fmt: skip
    yield row(task, "where", "less rotated", own["less_rotated"], low=own["less_rotated_low"], high=own["less_rotated_high"],
              p=own["p_rotated"], against="random bases", against_value=own["rotated"], **of)  # fmt: skip


def used_rows(task: Task, frame: pd.DataFrame, card: str = "") -> Iterator[Row]:
    """Points lost by layer, less those of random directions; and of the layer that stands out most, with its statistic and that of
    each draw (`standing_out`), of which the adjusted p is made."""
    layers, statistics = standing_out(
        frame.effect.to_numpy(float), np.array([json.loads(one) for one in frame.draws]), frame.n.to_numpy()
    )
    k, (largest, *null) = int(layers.argmax()), statistics.round(4).tolist()
    [p] = max_t([largest], [null])
    for j, own in enumerate(frame.to_dict("records")):
        facets = {"before": own["before"], "after": own["after"], "used": own["used"], "rank": own["size"], "draws": len(null)}
        facets |= {"above_chance": bool(own["above_chance"]), "left": own["left"], "majority": own["majority"]}
        of = {"layer": int(own["layer"]), "low": own["extra_low"], "high": own["extra_high"], "n": own["n"], "facets": facets}
        of |= {"against": "random directions", "against_value": own["control_effect"], "cell": own.get("cell"), "card": card}
        yield row(task, "used", "points lost", own["extra"], role="layer", p=own["p"], **of)
        if j == k:
            facets |= {"statistic": largest, "null": null}
            yield row(task, "used", "points lost", own["extra"], **{**of, "p": p, "facets": facets})


def standing_out(losses: np.ndarray, draws: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far a loss stands out, by layer, (L,); and the largest over the layers, of the property and of each draw, (1 + D,).

    A loss less the mean of all 1 + D of its layer, over the square root of their variance and of 1 / 4n, the largest variance of
    a share of n items: the draws of a layer may all lose nothing.

    Args:
        losses, draws: accuracy lost (0-1) at each layer, (L,), and by random directions, (L, D).
        n: items of each layer, (L,).
    """
    every = np.column_stack([losses, draws])
    scale = np.sqrt(every.var(1) + 1 / (4 * n))
    standard = (every - every.mean(1, keepdims=True)) / scale[:, None]
    return standard[:, 0], standard.max(0)


def interacting_rows(task: Task, frame: pd.DataFrame, card: str = "") -> Iterator[Row]:
    """T by layer, and the last layer less the first in which words act together at all (by construction none do in embeddings), of
    the first value and masking."""
    T = averages(frame).query("measure == 'T'")
    for own in T.to_dict("records"):
        about = {"masking": own["masking"], "value": own["value"]}
        yield row(task, "interacting", "T", own["estimate"], role="layer", layer=int(own["layer"]), low=own["low"],
                  high=own["high"], n=own["sentences"], facets=about, card=card)  # fmt: skip
    mixing = T.layer[T.estimate.abs() >= SURE].min()  # NaN where none does
    for own in steps(frame[~(frame.layer < mixing)]).query("measure == 'T' and whole").to_dict("records"):
        yield row(task, "interacting", "T last less first", own["difference"], layer=int(own["to"]), low=own["low"],
                  high=own["high"], n=own["sentences"], p=own["p"], against=f"layer {own['from_']}", card=card)  # fmt: skip


def transfers_rows(task: Task, made: Transfer, own: Any, results: ResultStore) -> Iterator[Row]:
    """The score on another corpus against every floor, and the drop; `own`: a line of `Transfer.lines`."""
    of = {"layer": int(own.layer), "n": own.n_test, "facets": {"target": own.target, "shared": int(own.shared)}}
    of["card"] = card_of_cell(results, own.cell)
    floors = floors_of(made.table, own.task, own.encoder, own.probe, own.n_train)
    rows = made.frame[made.frame.cell == own.cell]
    yield row(task, "transfers", own.metric, own.score, low=own.score_low, high=own.score_high, cell=own.cell,
              **above_all(made.table, rows, floors), **of)  # fmt: skip
    yield row(task, "transfers", "drop", own.drop, low=own.drop_low, high=own.drop_high, p=own.drop_p, **of)


def groups_of(table: ResultTable, cell: str) -> str | None:
    """The numbers of the items' groups as a JSON list; None where each item is its own."""
    groups = table.groups(cell)
    return None if groups is None else json.dumps(np.asarray(groups).tolist())


def packed(values: np.ndarray) -> str:
    """Values by item as hexadecimal digits: whether each is right, a bit each; others, whose mean is the score, as float32, the
    lowest byte first, empty where the score is not known."""
    if values.dtype == bool:
        return np.packbits(values).tobytes().hex()
    return values.astype("<f4").tobytes().hex() if np.isfinite(values).all() else ""

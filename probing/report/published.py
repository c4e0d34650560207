"""Numbers that papers printed, as data, and our table set beside them.

`sources.yaml` says what each table was made with. A comparison never puts two numbers side by side without naming what differs
between them: encoder, probe, pooling, data, size of the train split, metric. Each of theirs has its status (read in the paper,
second hand, unverified), each of ours its 95 % interval.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import yaml

from probing import paths
from probing.errors import ConfigError, did_you_mean
from probing.evaluation.best import interval
from probing.evaluation.comparisons import halves_of
from probing.evaluation.table import ResultTable
from probing.report.summary import span

OFFICIAL_TRAIN = 99_000
"""The official files hold 100,000 train sentences, give or take a few for balance."""


def sources() -> dict[str, dict[str, Any]]:
    """Name -> file, citation and recipe of every published table on our tasks; `rows`: "encoder, pretraining" of theirs -> what it
    is set beside, "floor NAME" or the first word of an encoder of ours."""
    return yaml.safe_load((paths.PUBLISHED / "sources.yaml").read_text(encoding="utf-8"))


def load(name: str) -> pd.DataFrame:
    """The published values: columns paper … status, with `score` as a fraction (0-1).

    Raises:
        ConfigError: no such table.
    """
    known = sources()
    if name not in known:
        raise ConfigError(f"no published table {name!r}{did_you_mean(name, known)} (allowed: {', '.join(known)})")
    frame = pd.read_csv(paths.PUBLISHED / known[name]["file"], dtype={"layer": str}, keep_default_na=False)
    frame = frame[~frame.metric.str.contains("range")].reset_index(drop=True)  # such as 45-65: no number to set beside
    percent = frame.metric.str.contains("%", regex=False)
    frame["score"] = frame.value.astype(float).where(~percent, frame.value.astype(float) / 100)
    return frame


def named(names: str | Sequence[str]) -> list[str]:
    """The names of published tables, given as a list or with commas between them, each once.

    Raises:
        ConfigError: no name, or no such table.
    """
    given = [name.strip() for name in (names.split(",") if isinstance(names, str) else names)]
    for name in given or [""]:
        load(name)
    return list(dict.fromkeys(given))


def beside(table: ResultTable, name: str) -> pd.DataFrame:
    """One line per published value on a task of ours: theirs, ours with its 95 % interval (0-1), the difference, whether theirs
    lies within the interval, and what differs.

    A numbered layer is set beside our same layer in the source's pooling where we have it; `best`, `last` or no layer beside our
    dev-best layer or our last. With several encoders or probes of ours, each gets its lines; where the source names counterparts
    (`rows`), an encoder is set beside its own, and a floor beside its own. The interval is that of our test items, seeds and train
    halves; theirs has its own, which no paper here prints.
    """
    theirs, source = _test_values(load(name)), sources()[name]
    rows = source.get("rows", {})
    pairs = zip(theirs.encoder, theirs.pretraining, strict=True)
    theirs = theirs.assign(counterpart=[rows.get(f"{encoder}, {training}", "") for encoder, training in pairs])
    best = table.best()
    lines = _floors(table, theirs, source)
    theirs = theirs[~theirs.counterpart.isin([line["our_encoder"] for line in lines])]
    probed = table.frame[(table.frame.role == "probe") & (table.frame.status == "done")]
    keys = ["paper_name", "encoder", "probe", "n_train"]
    for key, ours in probed.groupby(keys, sort=False):
        task, encoder, probe, n_train = key
        top = best[(best[keys] == list(key)).all(axis=1)].iloc[0]
        halves = halves_of(table, ours.task.iloc[0], encoder, probe, n_train)
        own = theirs[theirs.task == task]
        counterparts = own[own.counterpart == encoder.split()[0]]
        for row in (counterparts if len(counterparts) else own).itertuples():
            pooling, layer = top.pooling, int(top.layer)
            if row.layer.isdigit() or row.layer == "last":
                pooling = source["pooling"] if source["pooling"] in set(ours.pooling) else top.pooling
                layer = int(ours.layer.max()) if row.layer == "last" else int(row.layer)
            measured = ours[(ours.layer == layer) & (ours.pooling == pooling)]
            if measured.empty:
                continue
            metric = "macro_f1" if "F1" in row.metric else "accuracy"
            fits = [getattr(one, metric) for one in halves.get((pooling, layer), {}).values()]
            score, low, high = interval(table, metric, measured, fits).values()
            lines.append(
                {
                    "task": task, "their_encoder": row.encoder, "training": row.pretraining, "their_layer": row.layer or "-",
                    "theirs": row.score, "status": row.status, "our_encoder": encoder, "our_layer": f"{layer}/{pooling}",
                    "ours": score, "low": low, "high": high, "difference": score - row.score,
                    "inside": bool(low <= row.score <= high), "metric": metric.replace("_f1", " F1"),
                    "differs": "; ".join(_differences(source, row, measured.iloc[0], probe)),
                }
            )  # fmt: skip
    return pd.DataFrame(lines)


def _floors(table: ResultTable, theirs: pd.DataFrame, source: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The lines of the floors that read the text, of tasks that both have."""
    lines = []
    floors = table.role("floor")
    for row in theirs[[name.startswith("floor ") for name in theirs.counterpart]].itertuples():
        own = floors[(floors.paper_name == row.task) & ("floor " + floors.encoder == row.counterpart)]
        for floor in own.itertuples():
            bounds = floor.accuracy_low, floor.accuracy_high
            lines.append(
                {
                    "task": row.task, "their_encoder": row.encoder, "training": row.pretraining, "their_layer": "-",
                    "theirs": row.score, "status": row.status, "our_encoder": row.counterpart, "our_layer": "-",
                    "ours": floor.accuracy, "low": bounds[0], "high": bounds[1], "difference": floor.accuracy - row.score,
                    "inside": bool(bounds[0] <= row.score <= bounds[1]), "metric": "accuracy",
                    "differs": "; ".join(_of_data(source, pd.Series(floor._asdict()))),
                }
            )  # fmt: skip
    return lines


def _test_values(theirs: pd.DataFrame) -> pd.DataFrame:
    """The values on a test split: a source that prints those of a validation split as well says so in `note`."""
    return theirs[~theirs.note.str.startswith("split validation")]


def _differences(source: Mapping[str, Any], theirs: Any, ours: pd.Series, probe: str) -> list[str]:
    """What a reader must know before comparing two numbers."""
    reasons = []
    if theirs.counterpart and theirs.counterpart == ours.encoder.split()[0]:
        reasons.append(f"encoder: {ours.encoder} for {theirs.encoder} {theirs.pretraining}")
    elif theirs.encoder.split("/")[-1].lower() != ours.encoder.lower():
        reasons.append(f"encoder: {ours.encoder} against {theirs.encoder}")
    if probe != source["probe"]:
        reasons.append(f"probe: {probe} against {source['probe']}")
    if ours.pooling != source["pooling"] and not theirs.counterpart:
        reasons.append(f"pooling: {ours.pooling} against {source['pooling']}")
    return reasons + _of_data(source, ours)


def _of_data(source: Mapping[str, Any], ours: pd.Series) -> list[str]:
    reasons = []
    if not ours.official_data:
        reasons.append(f"data: other files, {ours.n_train} train sentences, {ours.n_classes} classes, against {source['data']}")
    elif ours.n_train < OFFICIAL_TRAIN or "per class" in source["data"]:
        reasons.append(f"data: {ours.n_train} train sentences, against {source['data']}")
    return reasons


def compare(table: ResultTable, names: str | Sequence[str]) -> str:
    """The comparison with one or several published tables as Markdown: what differs in words first, then the values in percent.
    A table that has nothing in common with ours gets a line that says so, unless all have.

    Raises:
        ConfigError: no such published table, or none of our tasks in any of them.
    """
    frames = {name: beside(table, name) for name in named(names)}
    if all(frame.empty for frame in frames.values()):
        tasks = sorted({task for name in frames for task in load(name).task})
        raise ConfigError(f"{', '.join(frames)} and this run have no task and layer in common (its tasks: {', '.join(tasks)})")
    return "\n\n".join(_one(name, frame) for name, frame in frames.items())


def _reasons(frame: pd.DataFrame) -> list[str]:
    """What differs, each reason once, with the sizes or the tasks that it is about."""
    rows, sizes = dict[str, list[int]](), dict[str, dict[str, str]]()
    for number, row in enumerate(frame.itertuples()):
        for reason in row.differs.split("; ") if row.differs else ():
            if own := re.fullmatch(r"data: (other files, )?(\d+ train sentences(?:, \d+ classes)?), (against .*)", reason):
                reason = f"data: {own[1] or ''}{own[3]}"
                sizes.setdefault(reason, {})[row.task] = own[2]
            rows.setdefault(reason, []).append(number)
    made = []
    for reason, numbers in rows.items():
        if reason in sizes:
            made.append(f"{reason} (ours: {'; '.join(f'{task} {size}' for task, size in sizes[reason].items())})")
        else:
            made.append(f"{_listed(frame.iloc[numbers], frame)}: {reason}")
    return made


def _listed(part: pd.DataFrame, frame: pd.DataFrame) -> str:
    """The tasks of some lines, or in how many of them they are all."""
    tasks = list(dict.fromkeys(part.task))
    return "all tasks" if len(tasks) > 1 and len(tasks) == frame.task.nunique() else ", ".join(tasks)


def _one(name: str, frame: pd.DataFrame) -> str:
    source = sources()[name]
    made = f"Made with: {source['probe']}; {source['pooling']}; {source['data']}."
    lines = [f"## Against {name}", "", f"{source['cite']}.", made, ""]
    if frame.empty:
        return "\n".join([*lines, "No task and layer in common with this run."])
    if (frame.differs == "").any():
        lines.append(f"- {_listed(frame[frame.differs == ''], frame)}: same encoder, probe, pooling and data.")
    if (frame.differs != "").any():
        lines += ["- **not the same measurement**:", *(f"    - {reason}" for reason in _reasons(frame))]
    lines += [
        "",
        "| task | their encoder | layer | theirs | status | our encoder | layer | ours | 95 % interval | in it | difference |",
        "|---|---|---|---:|---|---|---|---:|---|---|---:|",
    ]
    for row in frame.itertuples():
        mark = "" if not row.differs else " ≠"
        encoder = row.their_encoder
        if encoder.startswith(("BiLSTM", "Gated", "baseline", "skip-thought")):
            encoder += f" {row.training}"
        status = row.status if row.status != "unverified" else "**unverified**"
        within = ("-", "-") if pd.isna(row.low) else (span(row.low, row.high, "–"), "yes" if row.inside else "no")
        lines.append(
            f"| {row.task} | {encoder} | {row.their_layer} | {100 * row.theirs:.1f} | {status} | {row.our_encoder} "
            f"| {row.our_layer} | {100 * row.ours:.1f} | {within[0]} | {within[1]} "
            f"| {100 * row.difference:+.1f}{mark} |"
        )
    foot = "≠: not the same measurement; what differs is listed above. The interval is ours; in it: whether theirs is."
    if (frame.status == "unverified").any():
        foot += " **unverified**: no source of their number could be checked."
    return "\n".join([*lines, "", foot])

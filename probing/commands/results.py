"""`probing explain`, `status` and `compare`, and the run that `status` and `report` take if none is named."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probing.errors import ConfigError, DataError, did_you_mean

if TYPE_CHECKING:
    from probing.evaluation.run_comparison import RunComparison


def newest(home: Path, names: Sequence[str] = ("run.json",)) -> Path:
    """The folder of the run in `home` that was started last.

    Args:
        names: files that mark a run: run.json, or manifest.json of a study.

    Raises:
        DataError: there is none.
    """
    marks = [path for name in names for path in home.glob(f"runs/*/{name}")]
    if not marks:
        raise DataError(f"{home} holds no run: name the folder of one, such as {home}/runs/NAME, or make one with probing run")
    return max(marks, key=lambda path: (path.stat().st_mtime_ns, str(path))).parent


def explain(key: str, home: Path, whole: bool, answer: str | None = None) -> str:
    """The card of a cell; `whole`: its record as JSON, with the rows that show it.

    Args:
        key: of a cell in `home`, or its beginning.
        answer: a test item, by number or text: the training items with most influence on the probe's answer are added.
    """
    from probing.evaluation.runs import rows_that_show
    from probing.report.card import card_of, text_of
    from probing.store.results import ResultStore

    record = ResultStore(home / "cells").find(key)
    measured = record.pop("rows", None) or [record.pop("row")]  # `row`: of an earlier version
    shown = rows_that_show(record["key"], home)
    if whole:
        return json.dumps(record | {"measured": measured, "rows": shown}, indent=1, ensure_ascii=False)
    if any(not {"role", "task", "encoder"} <= row.keys() for row in measured):
        raise ConfigError(
            f"cell {record['key'][:10]} is a part of a study and has no card: --json has all that is recorded, and the study's run "
            "its rows; cells with a card stand in the column `cell` of the rows.csv of a table of probes"
        )
    card = text_of(card_of(record | {"rows": measured}, shown))
    if answer is not None:
        from probing.commands.examples import influences

        return f"{card}\n{text_of(influences(key, home, answer))}"
    return f"{card}\nall       probing explain {record['key'][:10]} --json"


def explain_best(task: str, encoder: str | None, folder: Path, whole: bool) -> str:
    """The cards of the dev-best layers of a task in a run: one for each encoder and probe.

    Raises:
        ConfigError: no such task or encoder in the run.
        DataError: nothing of it is finished.
    """
    from probing.evaluation.runs import Run
    from probing.report.card import text_of
    from probing.report.summary import verdict

    run = Run.read(folder)
    table = run.table().of_measure("probe")
    titles = dict(zip(table.frame.paper_name, table.frame.task, strict=True))
    name = _known("task", titles.get(task, task), table.tasks)
    encoders = table.encoders if encoder is None else [_known("encoder", encoder, table.encoders)]
    from probing.report.summary import lines_of

    of_task = replace(table, frame=table.frame[table.frame.task == name].reset_index(drop=True))
    best = of_task.best()
    best = best[best.encoder.isin(encoders)].reset_index(drop=True) if len(best) else best
    texts: list[Any] = []
    for line in lines_of(of_task, best, [""] * len(best)) if len(best) else ():
        home = run.folder.resolve().parents[1] if run.folder.resolve().parent.name == "runs" else run.cells.root.parent
        if not line.row.cell:
            texts.append(f"{name}, {line.row.encoder}: {verdict(line)}")
            continue
        text = explain(line.row.cell, home, whole)
        texts.append(text if whole else text_of([("best", f"{line.row.encoder}, {line.row.probe}: {verdict(line)}")]) + f"\n{text}")
    if not texts:
        raise DataError(f"{folder} has no probe of {name}")
    return "\n\n".join(texts)


def state_of(folder: Path) -> tuple[list[str], int]:
    """The lines of `probing status` on a run, and the number of its cells that are not done."""
    from probing.evaluation.runs import Run

    recorded = Run.read(folder)
    state = recorded.state()
    counts = ", ".join(f"{len(cells)} {name}" for name, cells in state.items())
    lines = [f"{recorded.folder}: {len(recorded.keys)} cells: {counts}"]
    shown = {row.cell: row for row in reversed(recorded.rows)}
    for record in state["failed"]:
        row = shown[record["key"]]
        place = f"layer {row.layer} {row.pooling}" if row.layer is not None else "floor" if row.role == "floor" else "all layers"
        seed = "" if row.seed is None else f" seed {row.seed}"
        role = f" {row.control} {row.role}" if row.role not in ("probe", "floor") else ""
        reason = " ".join(record["error"].split())
        lines.append(f"  failed {row.cell}  {row.task} {row.encoder} {place}{seed}{role}: {reason}")
    return lines, len(state["failed"]) + len(state["missing"])


def comparison_of(runs: Sequence[Path]) -> RunComparison:
    """The comparison of runs on their common test items; a run is named by its folder, or by its path where two have one name.

    Raises:
        ConfigError: one run with a single encoder; runs that have no test items in common.
    """
    from probing.evaluation.run_comparison import RunComparison
    from probing.evaluation.runs import Run

    tables = {folder.expanduser().resolve(): Run.read(folder).table().of_measure("probe") for folder in runs}
    if len(tables) == 1 and len(next(iter(tables.values())).encoders) < 2:
        raise ConfigError("compare what? Give two runs or more, or one that has several encoders")
    names = [folder.name for folder in tables]
    return RunComparison.of({folder.name if names.count(folder.name) == 1 else str(folder): one for folder, one in tables.items()})


def _known(what: str, given: str, allowed: Sequence[str]) -> str:
    if given not in allowed:
        raise ConfigError(f"no {what} {given!r} in this run{did_you_mean(given, allowed)} (allowed: {', '.join(allowed)})")
    return given

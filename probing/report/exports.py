"""Exports of a run for other programs: `probing export RUN --to NAME`. Everything is made of the run's rows, accuracies 0-1.

datasets       a folder that `datasets.load_dataset` reads: configurations `rows` (every cell) and `best` (the dev-best layers)
parquet        the rows as one file
latex          booktabs: task × encoder at the dev-best layer, and task × layer for each encoder, probe and pooling
eval-results   a Markdown model card for each encoder, with the results in its metadata (`model-index` of Hugging Face)
mteb           a folder for mteb's `ResultCache`: a file for each encoder and task, with a score for each probe
eee            a JSON file of Every Eval Ever's schema for each encoder
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from probing.errors import ConfigError, did_you_mean
from probing.evaluation.comparisons import letters_of
from probing.evaluation.metrics import SIGNED, in_words, title
from probing.evaluation.rows import metrics_of_line
from probing.evaluation.runs import Run
from probing.files import os_errors_as_store_error, replace_file
from probing.provenance import versions
from probing.report.latex import encoders_table, layers_tables
from probing.report.markdown import layer_tables, md_table
from probing.report.summary import in_order, lines_of, percent, span

EEE_SCHEMA = "0.3.0"
"""The version of Every Eval Ever's schema that `eee` writes."""


def export(run: Run, to: str, out: Path | None = None) -> Path:
    """Write an export of `EXPORTS`; return its file or folder (None: in the run's folder).

    Raises:
        ConfigError: an unknown export, one that a package is missing for, or a run without a finished layer.
    """
    if to == "shapiq":
        raise ConfigError("--to shapiq: a run of probes holds no interactions; probing interact … shapiq=FOLDER writes them")
    if to not in EXPORTS:
        raise ConfigError(f"--to {to} is unknown{did_you_mean(to, EXPORTS)} (allowed: {', '.join(EXPORTS)})")
    name, write = EXPORTS[to]
    path = (out or run.folder / name).expanduser()
    if path.exists() and path.is_dir() == ("." in name):
        raise ConfigError(f"--out {path}: {to} writes a {'file' if '.' in name else 'folder'}, and this is the other")
    best = _best(run) if to != "parquet" else pd.DataFrame()
    if best.empty and to != "parquet":
        raise ConfigError(f"{run.folder} has no finished layer of an encoder, so there is nothing to export: probing status RUN")
    with os_errors_as_store_error(path.parent):
        write(run, best, path)
    return path


def _best(run: Run) -> pd.DataFrame:
    """The dev-best layer of each task, encoder and probe; without the lines that have no finished layer."""
    table = run.table().of_measure("probe")
    best = table.best() if len(table.frame) else table.frame
    return best[best.seeds > 0] if "seeds" in best else best.head(0)


def _parquet(run: Run, best: pd.DataFrame, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    run.table().to_parquet(path)


def _datasets(run: Run, best: pd.DataFrame, folder: Path) -> None:
    lists = best[["not_separated", "better"]].map(lambda columns: [f"{layer}/{pooling}" for layer, pooling in columns or ()])
    _parquet(run, best, folder / "rows.parquet")
    best.assign(**lists).to_parquet(folder / "best.parquet", index=False)
    names = "".join(f"- config_name: {name}\n  data_files: {name}.parquet\n" for name in ("rows", "best"))
    text = (
        f"---\nconfigs:\n{names}---\n\n# Results of probing\n\n{_summary(best)}\n\n`rows`: a line for each cell and metric; "
        "`best`: the layer chosen on dev for each task, encoder and probe. Accuracies are 0-1.\n"
    )
    replace_file(folder / "README.md", text.encode())


def _latex(run: Run, best: pd.DataFrame, path: Path) -> None:
    """A document that compiles alone: the tables of `table.tex`; those by layer are in a file beside it."""
    table = run.table().of_measure("probe")
    best = in_order(table, best)
    lines = lines_of(table, best, letters_of(best, table.compare_encoders()))
    replace_file(path, encoders_table(lines, []).encode())
    replace_file(
        path.with_stem(path.stem + "-layers"), layers_tables(layer_tables(table), [], in_words(table.frame.metric)).encode()
    )


def _eval_results(run: Run, best: pd.DataFrame, folder: Path) -> None:
    """Metadata are made and written by the classes of huggingface_hub, which refuse what they would not read."""
    from huggingface_hub import EvalResult, ModelCard, ModelCardData

    cards = run.data_cards()
    for encoder, lines in best.groupby("encoder", sort=False):
        results = [
            EvalResult(
                task_type="text-classification" if row.metric in ("accuracy", "auroc") else "other",
                task_name=f"Probing, layer {row.layer} ({row.pooling}), chosen on dev",
                dataset_type=row.task,
                dataset_name=row.paper_name,
                dataset_split="test",
                dataset_args={"sha256": cards[row.task]["sha256"]},
                metric_type={"macro_f1": "f1"}.get(metric, metric),
                metric_name=f"{title(metric)} of the probe {row.probe}",
                metric_value=round(float(getattr(row, metric)), 6),
                metric_args={"layer": int(row.layer), "pooling": row.pooling, "n_train": int(row.n_train)},
            )
            for row in lines.itertuples()
            for metric in metrics_of_line(row)
        ]
        data = ModelCardData(model_name=encoder, eval_results=results, tags=["probing"])
        card = ModelCard(f"---\n{data.to_yaml()}\n---\n\n# {encoder}: probing results\n\n{_summary(lines)}\n")
        replace_file(folder / f"{_slug(encoder)}.md", str(card).encode())


def _mteb(run: Run, best: pd.DataFrame, folder: Path) -> None:
    """MTEB's layout: MODEL/REVISION/TASK.json. The revision is the encoder's fingerprint, the subset the probe; the language of a
    task is not known here (und)."""
    cards, encoders = run.data_cards(), run.encoder_descriptions()
    for (encoder, task), lines in best.groupby(["encoder", "task"], sort=False):
        revision = encoders[encoder]["fingerprint"][:16]
        scores = [
            {metric: float(getattr(row, metric)) for metric in (f"dev_{row.metric}", *metrics_of_line(row))}
            | {"main_score": float(row.score), "hf_subset": row.probe, "languages": ["und"]}
            | {"layer": int(row.layer), "pooling": row.pooling, "floor": row.floor, "beats_floors": bool(row.beats_floors)}
            for row in lines.itertuples()
        ]
        of_task = {"task_name": task, "dataset_revision": cards[task]["sha256"], "mteb_version": None, "evaluation_time": None}
        of_model = {"name": encoder, "revision": revision}
        place = folder / "results" / _slug(encoder) / revision
        for name, content in ((_slug(task), of_task | {"scores": {"test": scores}}), ("model_meta", of_model)):
            replace_file(place / f"{name}.json", json.dumps(content, indent=1, ensure_ascii=False).encode())


def _eee(run: Run, best: pd.DataFrame, folder: Path) -> None:
    """Who evaluated is not known here: `source_organization_name` is unknown, for the user to fill in."""
    cards, encoders = run.data_cards(), run.encoder_descriptions()
    newest = max(record["details"]["made"] for record in run.state()["done"])
    time = str(int(datetime.fromisoformat(newest).timestamp()))
    for encoder, lines in best.groupby("encoder", sort=False):
        about = encoders[encoder]
        details = {"fingerprint": about["fingerprint"], "origin": about["origin"]}
        content = {
            "schema_version": EEE_SCHEMA,
            "evaluation_id": f"probing/{encoder}/{time}",
            "retrieved_timestamp": time,
            "source_metadata": {
                "source_name": "probing",
                "source_type": "evaluation_run",
                "source_organization_name": "unknown",
                "evaluator_relationship": "other",
            },
            "eval_library": {"name": "probing", "version": versions()["probing"]},
            "model_info": {
                "name": encoder,
                "id": encoder,
                "additional_details": {"deployment_type": "self_deployed", "model_availability": "unknown", **details},
            },
            "evaluation_results": [
                _eee_result(row, metric, cards[row.task]) for row in lines.itertuples() for metric in metrics_of_line(row)
            ],
        }
        replace_file(folder / f"{_slug(encoder)}.json", json.dumps(content, indent=1, ensure_ascii=False).encode())


def _eee_result(row: Any, metric: str, card: dict[str, Any]) -> dict[str, Any]:
    at = {"layer": str(row.layer), "layer_name": row.layer_name, "pooling": row.pooling, "probe": row.probe}
    floors = {"majority": repr(float(row.majority)), "highest_floor": row.floor, "beats_floors": str(row.beats_floors)}
    value, low, high = (float(getattr(row, f"{metric}{end}")) for end in ("", "_low", "_high"))
    interval = {"lower": low, "upper": high, "confidence_level": 0.95, "method": f"over {row.interval_over}"}
    sizes = {f"n_{split}": str(n) for split, n in card["n"].items()}
    return {
        "evaluation_name": row.task,
        "source_data": {
            "dataset_name": row.paper_name,
            "source_type": "other",
            "additional_details": {"sha256": card["sha256"], **sizes},
        },
        "metric_config": {
            "evaluation_description": "Probe of a frozen encoder, at the layer and pooling with the highest dev score",
            "metric_id": metric,
            "metric_name": title(metric),
            "metric_kind": metric,
            "metric_unit": "proportion",
            "lower_is_better": False,
            "score_type": "continuous",
            "min_score": min(-1.0, value) if metric in SIGNED else 0.0,
            "max_score": 1.0,
        },
        "score_details": {
            "score": value,
            "details": {**at, f"dev_{row.metric}": repr(float(row.dev_score)), **(floors if metric == row.metric else {})},
            "uncertainty": {"confidence_interval": interval, "num_samples": int(row.n_test)},
        },
    }


def _summary(best: pd.DataFrame) -> str:
    """A Markdown table of the dev-best layers, in percent."""
    score = "accuracy" if in_words(best.metric) == "accuracy" else "score"
    lines = [
        {
            "task": row.paper_name,
            "encoder": row.encoder,
            "probe": row.probe,
            "layer": f"{row.layer} {row.pooling}",
            f"test {score}": (f"{title(row.metric)} " if score != "accuracy" else "") + percent(row.score),
            "95 % interval": span(row.score_low, row.score_high, "–"),
            "majority": percent(row.majority) if row.metric == "accuracy" else "",
        }
        for row in best.itertuples()
    ]
    return md_table(pd.DataFrame(lines))


def _slug(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name).strip("-") or "encoder"


EXPORTS: dict[str, tuple[str, Callable[[Run, pd.DataFrame, Path], None]]] = {
    "datasets": ("dataset", _datasets),
    "parquet": ("export.parquet", _parquet),
    "latex": ("export.tex", _latex),
    "eval-results": ("model-cards", _eval_results),
    "mteb": ("mteb", _mteb),
    "eee": ("every-eval-ever", _eee),
}
"""What `--to` may be: the name of the file or folder in the run's folder, and the function of run, best lines and path."""

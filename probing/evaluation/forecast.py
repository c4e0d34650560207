"""What a run would compute, how large that is and how long it takes: `run.dry=true`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from probing.evaluation.evaluate import announce, jobs_of, open_cells
from probing.evaluation.measure import Cell
from probing.log import human_seconds, info
from probing.store.results import ResultStore
from probing.store.vectors import Store


def forecast(planned: Sequence[Cell], store: Store, results: ResultStore, force: bool = False) -> None:
    """Logs what `compute` would do: cells by role, and for each encoder sentences, tokens, size and time, for which a few batches
    are run; nothing is written. The time of fits is that of the plan's finished ones, if there are any."""
    missing = open_cells(planned, results, force)
    roles = Counter((cell.row.measure, cell.row.role, cell.row.encoder) for cell in missing)
    for (measure, role, encoder), count in roles.items():
        info(f"  {count} × {measure if measure != 'probe' else role} of {encoder}")
    for job in jobs_of(missing):
        announce(job, store)
    records = [results.read(cell.key) for cell in planned if cell.column] if missing else []
    seconds = [record["details"]["seconds"] for record in records if record and "seconds" in record.get("details", {})]
    fits = sum(cell.column is not None for cell in missing)
    known = f"about {human_seconds(fits * sum(seconds) / len(seconds))}" if seconds else "their time is not known yet"
    info(f"{fits} fits: {known}. Nothing was computed (run.dry=true)")

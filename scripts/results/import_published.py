"""Makes results/published: adds the column `status` to CSV files of published values.

Usage: python scripts/results/import_published.py FOLDER [OUT]
Columns: paper, table, encoder, pretraining, layer, task, metric, value, note.
verified: read in the paper itself · second hand: read in another named source (files its authors released, a redrawing, a
quotation) · unverified: no source could be checked. The note names the source.
"""

import csv
import sys
from pathlib import Path

VERIFIED = {"adi2017"}  # read in a copy of the paper
UNVERIFIED = {"conneau2018_table2_from_memory"}


def status(name: str, note: str) -> str:
    if "likely a copy error" in note:
        return "unverified"
    if "confirmed by a second source" in note:
        return "second hand"
    return "verified" if name in VERIFIED else "unverified" if name in UNVERIFIED else "second hand"


def main(folder: Path, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for path in sorted(folder.glob("*.csv")):
        rows = list(csv.DictReader(path.open(encoding="utf-8", newline="")))
        with (out / path.name).open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, [*(name for name in rows[0] if name != "status"), "status"], lineterminator="\n")
            writer.writeheader()
            writer.writerows(row | {"status": status(path.stem, row["note"])} for row in rows)
        print(f"{path.name}: {len(rows)} values")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else "results/published"))

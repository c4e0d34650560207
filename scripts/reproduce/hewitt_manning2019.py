"""Hewitt & Manning 2019: structural probes of dependency trees by layer and rank, beside the linear chain and an untrained map.

Usage: python scripts/reproduce/hewitt_manning2019.py FOLDER [ENCODER …]
(as probing run +experiment=hewitt_manning2019 data.root=FOLDER encoder=minilm)
FOLDER: CoNLL-U files; theirs is the Penn Treebank in Stanford dependencies. ENCODER: preset, folder or hub id, default: minilm;
theirs: bert-base-cased, bert-large-cased, ELMo. Their default rank is the width of the layer: docs/papers/hewitt_manning2019.md.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from probing import ResultTable, Store, evaluate
from probing.config import build, read
from probing.evaluation.structural import Structural

SHOWN = ("uuas", "dspr", "root_accuracy", "nspr")


def main(
    root: str, encoders: Sequence[str] = (), store: str | Path = "probing-out/store", layers: Any = None, **options: Any
) -> ResultTable:
    """The table; `options`: of the probe (`Structural`), such as ranks=[1, 4, 16, 64, 256] or rules=["listed"]."""
    source = build({**read("data", "conllu"), "root": root}, "data")
    return evaluate(
        source.tasks(("tree",)), list(encoders) or ["minilm"], store=Store(store), probe=None, poolings="word-mean", layers=layers,
        measures=[Structural(**options)], floors=("random-weights",), controls=(),
    )  # fmt: skip


def shown(table: ResultTable) -> str:
    """Scores in percent, as the paper's Table 1; `chain`: UUAS of |i - j|, `untrained`: of a drawn map of the same rank."""
    frame = table.frame[table.frame.status == "done"].rename(columns={"uuas_chain": "chain", "uuas_untrained": "untrained"})
    names = ["uuas", "uuas_low", "uuas_high", "chain", "untrained", *SHOWN[1:], "dspr_chain", "dev_uuas"]
    return frame[["encoder", "layer", "probe"]].join((100 * frame[names]).round(1)).to_string(index=False)


if __name__ == "__main__":
    print(shown(main(sys.argv[1], sys.argv[2:])))

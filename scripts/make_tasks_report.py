"""Makes the tasks from the built-in grammar and from treebanks, measures what must not leak, and writes the tables.

    PROBING_SHARED=... python scripts/make_tasks_report.py --out results/builders

Without PROBING_SHARED, or with --only grammar, the grammar alone. The texts of the tasks go to a temporary folder and
are not kept.
"""

import argparse
import json
import os
import platform
import tempfile
import time
from pathlib import Path

import numpy
import pandas as pd
import sklearn

from probing import builders
from probing.builders import leaks
from probing.corpora import grammar
from probing.corpora.parsed import Corpus

TREEBANKS = {"gum": ("en", "gum_const/gum_const.tsv.xz"), "german": ("de", "ud_de_gsd")}
ABOUT = """# The tasks made by the builders, and what must not leak

Made by `scripts/make_tasks_report.py` (`manifest.json` says how; `counts.csv` has the counts per class and split;
`leaks.csv` is the table below). Accuracies in percent on va and te together, classifiers fitted on tr, Wilson 95 %
intervals. Bag of words: naive Bayes on unigram tf-idf, lower-cased as in scikit-learn's default, and cased; it must be
at chance on bigram_shift and coordination_inversion. A capital marks a sentence's first word, so the cased one may see
a little of the order of clauses. On odd_man_out it falls below one half: a form replaces in one split only, so that a
form that replaced in tr (class C) stands in va and te only where it belongs (class O), and the other way round.
Length: logistic regression on the number of tokens and its square; it must not beat the majority on the depth tasks.
Numbers from the grammar are named grammar, and compare with no paper's.

"""


def percent(estimate) -> str:
    return f"{100 * estimate.value:.1f} [{100 * estimate.lower:.1f}, {100 * estimate.upper:.1f}]"


def measured(corpus: Corpus, name: str, rows: list) -> dict:
    """What the leak checks say of one task."""
    forms = leaks.target_forms(name, corpus.sentences, rows)
    return {
        "majority": percent(leaks.majority(rows)),
        "bag of words": percent(leaks.bag_of_words(rows)),
        "bag of words, cased": percent(leaks.bag_of_words(rows, lowercase=False)),
        "length": percent(leaks.length_alone(rows)),
        "sentences in two splits": len(leaks.shared((row.split, " ".join(row.tokens).lower()) for row in rows)),
        "target forms": len({form for _, form in forms}),
        "target forms in two splits": len(leaks.shared(forms)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/builders"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--n", type=int, default=20_000, help="sentences of the grammar")
    parser.add_argument("--min-per-split", type=int, default=builders.MIN_PER_SPLIT)
    parser.add_argument("--only", nargs="*", default=["grammar", *TREEBANKS])
    given = parser.parse_args()
    options = {"seed": given.seed, "min_per_split": given.min_per_split}
    tables, counts, used = [], [], {}
    for key in given.only:
        if key != "grammar" and "PROBING_SHARED" not in os.environ:
            continue
        started = time.process_time()
        language, path = TREEBANKS.get(key, ("en", ""))
        if key == "grammar":
            corpus = grammar.corpus(given.n, given.seed)
        else:
            corpus = builders.read_source(Path(os.environ["PROBING_SHARED"], "data", path))
        with tempfile.TemporaryDirectory() as folder:
            cards = builders.make_tasks(corpus.sentences, folder, language=language, source=corpus.name, **options)
            seconds = round(time.process_time() - started, 1)
            rows = {name: leaks.read_rows(Path(folder, f"{name}.txt")) for name in cards if isinstance(cards[name], dict)}
        used[key] = {
            "source": corpus.name,
            "sha256": corpus.sha256,
            "sentences": len(corpus.sentences),
            "cpu_s": seconds,
        }
        for name, card in cards.items():
            line = {"corpus": key, "task": name}
            if isinstance(card, str):
                tables.append(line | {"left out": card})
                continue
            correlation = {"correlation with length": card["details"].get("correlation of depth and length")}
            sizes = {"classes": card["n_classes"], **card["n"], "split": card["split"], **correlation}
            tables.append(line | sizes | measured(corpus, name, rows[name]))
            counts += [line | {"split": s, "label": k, "n": n} for s, c in card["counts"].items() for k, n in c.items()]
    given.out.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(tables).convert_dtypes()
    table.to_csv(given.out / "leaks.csv", index=False)
    pd.DataFrame(counts).to_csv(given.out / "counts.csv", index=False)
    versions = {"python": platform.python_version(), "numpy": numpy.__version__, "scikit-learn": sklearn.__version__}
    command = f"python scripts/make_tasks_report.py --seed {given.seed} --n {given.n}"
    command += f" --min-per-split {given.min_per_split} --only {' '.join(given.only)}"
    manifest = {
        "command": command,
        **options,
        "versions": versions,
        "sources": used,
        "code_sha256": builders.code_sha256(),
    }
    (given.out / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
    body = table.astype(object).where(table.notna(), "").itertuples(index=False)
    lines = [table.columns, ["---"] * table.shape[1], *body]
    text = ABOUT + "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)
    (given.out / "README.md").write_text(text)


if __name__ == "__main__":
    main()

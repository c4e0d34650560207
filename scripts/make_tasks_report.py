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
from collections import Counter
from pathlib import Path

import leaks
import numpy
import pandas as pd
import sklearn

from probing.data import builders
from probing.data.builders import make
from probing.data.grammar import grammar
from probing.data.readers.parsed import Corpus

TREEBANKS = {"gum": ("en", "gum_const/gum_const.tsv.xz"), "ewt": ("en", "ud_en_ewt"), "german": ("de", "ud_de_gsd")}
ABOUT = """# The tasks made by the builders, and what must not leak

Made by `scripts/make_tasks_report.py` (`manifest.json` says how; `counts.csv` has the counts per class and split;
`leaks.csv` and `odd_man_out.csv` are the tables below). Accuracies in percent on va and te together, classifiers fitted
on tr, Wilson 95 % intervals over sentences. Bag of words: naive Bayes on unigram tf-idf, lower-cased as in
scikit-learn's default, and cased; it must be at chance on bigram_shift, coordination_inversion and odd_man_out. A
capital marks a sentence's first word, so the cased one may see a little of the order of clauses. Length: logistic
regression on the number of tokens and its square; it must not beat the majority on the depth tasks. Smallest class: the
fewest sentences of a class in va and in te. Groups: the sentences of va and te that share a target form, a pair of
exchanged forms, or a document, count as one. `ud_past_present` holds clauses without an auxiliary of tense or mood, in
the indicative: a perfect is neither PAST nor PRES. Numbers from the grammar are named grammar, and compare with no
paper's.

"""
CHANCE = """
Odd man out at chance: naive Bayes as above on the task made with {n} seeds of the draw; mean and standard error in
percent over the seeds. Two sentences exchange their words in class C, so that this class holds the words that its
sentences would hold unchanged.

"""


def percent(estimate) -> str:
    return f"{100 * estimate.value:.1f} [{100 * estimate.lower:.1f}, {100 * estimate.upper:.1f}]"


def measured(card: dict, rows: list) -> dict:
    """What the leak checks say of one task."""
    by_form = [(row.split, row.group) for row in rows] if "form" in (card["groups"] or {"by": ""})["by"] else []
    counts = Counter((row.split, row.label) for row in rows if row.split != "tr")
    return {
        "smallest class": min(counts.values()),
        "groups in va and te": sum(card["groups"][s] for s in ("va", "te")) if card["groups"] else None,
        "majority": percent(leaks.majority(rows)),
        "bag of words": percent(leaks.bag_of_words(rows)),
        "bag of words, cased": percent(leaks.bag_of_words(rows, lowercase=False)),
        "length": percent(leaks.length_alone(rows)),
        "sentences in two splits": len(leaks.shared((row.split, " ".join(row.tokens).lower()) for row in rows)),
        "target forms in two splits": len(leaks.shared(by_form)) if by_form else None,
    }


def odd_man_out(corpus: Corpus, name: str, seeds: range, least: int) -> list[dict]:
    """Naive Bayes on odd man out, made with each seed."""
    measurements = []
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            made = builders.make_tasks(corpus.sentences, folder, seed=seed, tasks=[name], min_per_split=least)[name]
            if isinstance(made, str):
                return []
            rows = leaks.read_rows(Path(folder, f"{name}.txt"))
        cases = {"bag of words": True, "bag of words, cased": False}
        accuracies = {k: round(100 * leaks.bag_of_words(rows, lowercase).value, 2) for k, lowercase in cases.items()}
        measurements.append({"seed": seed, "va and te": made["n"]["va"] + made["n"]["te"], **accuracies})
    return measurements


def markdown(table: pd.DataFrame) -> str:
    body = table.astype(object).where(table.notna(), "").itertuples(index=False)
    lines = [table.columns, ["---"] * table.shape[1], *body]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/builders"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--n", type=int, default=20_000, help="sentences of the grammar")
    parser.add_argument("--min-per-split", type=int, default=make.MIN_PER_SPLIT)
    parser.add_argument("--seeds", type=int, default=8, help="of odd man out, for the table of chance")
    parser.add_argument("--only", nargs="*", default=["grammar", *TREEBANKS])
    given = parser.parse_args()
    options = {"seed": given.seed, "min_per_split": given.min_per_split}
    tables, counts, used, chance = [], [], {}, []
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
        for name in (name for name in cards if name.endswith("odd_man_out")):
            measurements = odd_man_out(corpus, name, range(given.seeds), given.min_per_split)
            chance += [{"corpus": key, "task": name} | line for line in measurements]
        for name, card in cards.items():
            line = {"corpus": key, "task": name}
            if isinstance(card, str):
                tables.append(line | {"left out": card})
                continue
            correlation = {"correlation with length": card["details"].get("correlation of depth and length")}
            sizes = {"classes": card["n_classes"], **card["n"], "split": card["split"], **correlation}
            tables.append(line | sizes | measured(card, rows[name]))
            counts += [line | {"split": s, "label": k, "n": n} for s, c in card["counts"].items() for k, n in c.items()]
    given.out.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(tables).convert_dtypes()
    table.to_csv(given.out / "leaks.csv", index=False)
    pd.DataFrame(counts).to_csv(given.out / "counts.csv", index=False)
    versions = {"python": platform.python_version(), "numpy": numpy.__version__, "scikit-learn": sklearn.__version__}
    command = f"python scripts/make_tasks_report.py --seed {given.seed} --n {given.n}"
    command += f" --min-per-split {given.min_per_split} --seeds {given.seeds} --only {' '.join(given.only)}"
    manifest = {
        "command": command,
        **options,
        "versions": versions,
        "sources": used,
        "code_sha256": make.code_sha256(),
    }
    (given.out / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
    text = ABOUT + markdown(table)
    if chance:
        by_seed = pd.DataFrame(chance)
        by_seed.to_csv(given.out / "odd_man_out.csv", index=False)
        groups = by_seed.groupby(["corpus", "task"], sort=False)
        summary = groups.agg(seeds=("seed", "size"), sentences=("va and te", "mean")).round(0).astype(int).reset_index()
        for name in ("bag of words", "bag of words, cased"):
            means, errors = groups[name].mean(), groups[name].sem()
            summary[name] = [f"{mean:.1f} ± {error:.1f}" for mean, error in zip(means, errors, strict=True)]
        text += CHANCE.format(n=given.seeds) + markdown(summary)
    (given.out / "README.md").write_text(text)


if __name__ == "__main__":
    main()

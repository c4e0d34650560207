"""The ten tasks made from any parsed text, in SentEval's file format.

`make_tasks` writes DIR/<task>.txt (split TAB label TAB sentence) and DIR/<task>.card.json beside it: definition used,
filters, counts per class and split, balance, what was left out and why, hash of the source, seed.
DIR/<task>.groups.txt, where there is one, names on line i the group of line i of the task's file: sentences of one
group are not independent. A group is what the split is drawn by, where that is a form (the target form of tense and
number, the pair of forms that odd man out exchanges); for all other tasks it is the document, where the corpus names
documents (GUM's table, `# newdoc` in CoNLL-U). No sentence of the corpus comes twice in a task. A corpus with
constituents gives the ten tasks of Conneau et al. 2018 (`PENN`); one with dependencies gives named substitutes where
constituents are needed (`UD`), so that no one mistakes them for the originals; plain sentences give the tasks that
need no parse. A task for which the corpus is too small (`make_tasks`, min_per_split) is left out with the reason, which
DIR/left_out.json records for the last call, and the others are made.
`grammar_tasks` does the same with the built-in grammar, without any file.

Every task draws from a generator of its own (seed and name), so that a task's bytes do not depend on which others are
made. Left out: near-duplicates are not searched for in a given corpus; sentences that differ in case only count as one.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from probing.data.builders import coordination, semantic, surface, syntactic, ud
from probing.data.builders.sampling import SHARES, Built, LeftOut, Options
from probing.data.grammar import grammar, lexicon, phrases
from probing.data.readers import parsed
from probing.data.readers.parsed import Sentence
from probing.data.readers.treebank import read_source
from probing.errors import DataError, did_you_mean
from probing.files import atomic, file_sha256, replace_file

__all__ = ["BUILDERS", "PENN", "UD", "grammar_tasks", "make_tasks", "read_source"]

Builder = Callable[[Sequence[Sentence], np.random.Generator, Options], Built]
BUILDERS: dict[str, Builder] = {
    "sentence_length": surface.sentence_length,
    "word_content": surface.word_content,
    "tree_depth": syntactic.tree_depth,
    "top_constituents": syntactic.top_constituents,
    "bigram_shift": syntactic.bigram_shift,
    "past_present": semantic.past_present,
    "subj_number": semantic.subj_number,
    "obj_number": semantic.obj_number,
    "odd_man_out": semantic.odd_man_out,
    "coordination_inversion": coordination.coordination_inversion,
    "ud_tree_depth": ud.ud_tree_depth,
    "ud_top_relations": ud.ud_top_relations,
    "ud_past_present": ud.ud_past_present,
    "ud_subj_number": ud.ud_subj_number,
    "ud_obj_number": ud.ud_obj_number,
    "ud_odd_man_out": ud.ud_odd_man_out,
    "ud_coordination_inversion": ud.ud_coordination_inversion,
}
PENN = tuple(name for name in BUILDERS if not name.startswith("ud_"))
UD = tuple(f"ud_{name}" if f"ud_{name}" in BUILDERS else name for name in PENN)
UD = tuple("ud_top_relations" if name == "top_constituents" else name for name in UD)
SHORTEST, LONGEST = 5, 28
LEFT_OUT = "left_out.json"
ENDINGS = (".txt", ".groups.txt", ".card.json")
MIN_PER_SPLIT = 30


def make_tasks(
    sentences: Iterable[Sentence],
    out: str | Path,
    *,
    language: str = "en",
    seed: int = 0,
    source: str = "unnamed",
    source_sha256: str = "",
    tasks: Sequence[str] | None = None,
    min_per_split: int = MIN_PER_SPLIT,
) -> dict[str, dict[str, Any] | str]:
    """Makes the tasks and writes them, whole or not at all, one after the other.

    Args:
        sentences: as a reader gives them; those of 5-28 tokens are used, each text once.
        out: the folder; files of an earlier run are replaced, files that were not made here never.
        language: named in the cards.
        seed: of all draws; the same seed gives the same bytes.
        source, source_sha256: named in the cards.
        tasks: names of `BUILDERS`; None takes `UD` for dependencies and `PENN` for all else.
        min_per_split: sentences that every class must have in each of train, dev and test after filters and balancing,
            else the task is left out. The 95 % interval of a share of 30 is ±18 points: less says nothing of a class.
            Tasks with classes by frequency (lengths, depths, top structures) keep fewer classes first, word_content
            counts all its words together (`probing.data.builders.surface`).

    Returns:
        per task its card, or the reason why it was left out.

    Raises:
        DataError: an unknown task, or a file in `out` that was not made here.
    """
    given = list(sentences)
    names = list(tasks) if tasks is not None else list(default_tasks(given))
    for name in names:
        if name not in BUILDERS:
            raise DataError(f"unknown task {name!r}{did_you_mean(name, BUILDERS)} (allowed: {', '.join(BUILDERS)})")
    if min_per_split < 1:
        raise DataError(f"min_per_split={min_per_split}: a class needs a sentence in each of the three splits, so 1 or more")
    out = Path(out).expanduser()
    for name in names:
        if (out / f"{name}.txt").exists() and not (out / f"{name}.card.json").exists():
            raise DataError(f"{out} holds a {name}.txt without {name}.card.json, not made here; choose another folder")

    def write(name: str, text: str) -> None:
        replace_file(out / name, text.encode())

    out.mkdir(parents=True, exist_ok=True)
    kept, common = prepared(given)
    official = bool(kept) and all(s.split for s in kept) and {s.split for s in kept} == set(SHARES)
    result: dict[str, dict[str, Any] | str] = {}
    for name in names:
        rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        try:
            built = BUILDERS[name](kept, rng, Options(min_per_split, official))
        except LeftOut as reason:
            result[name] = str(reason)
            for ending in ENDINGS:
                (out / f"{name}{ending}").unlink(missing_ok=True)
            continue
        card = card_of(name, built)
        card |= {"corpus": common, "language": language, "source": source, "source_sha256": source_sha256}
        card |= {"seed": seed, "min_per_split": min_per_split}
        text = "".join(f"{row.split}\t{row.label}\t{' '.join(row.tokens)}\n" for row in built.rows)
        card["file_sha256"] = hashlib.sha256(text.encode()).hexdigest()
        for ending in (".txt", ".groups.txt"):  # no moment has a task's file beside another's groups
            (out / f"{name}{ending}").unlink(missing_ok=True)
        write(f"{name}.card.json", json.dumps(card, indent=1, ensure_ascii=False, sort_keys=True) + "\n")
        if card["groups"]:
            write(f"{name}.groups.txt", "".join(f"{row.group}\n" for row in built.rows))
        write(f"{name}.txt", text)
        result[name] = card
    reasons = {name: card for name, card in result.items() if isinstance(card, str)}
    (out / LEFT_OUT).unlink(missing_ok=True)
    if reasons:
        write(LEFT_OUT, json.dumps(reasons, indent=1, ensure_ascii=False) + "\n")
    return result


def default_tasks(sentences: Sequence[Sentence]) -> tuple[str, ...]:
    """UD's names for dependencies without trees, else the ten usual ones."""
    trees = any(s.tree for s in sentences)
    return UD if not trees and any(s.dependencies for s in sentences) else PENN


def prepared(sentences: Sequence[Sentence]) -> tuple[list[Sentence], dict[str, int]]:
    """The sentences that all tasks start from, and how many were left out by what."""
    left: Counter[str] = Counter({"sentences": len(sentences)})
    kept, seen = [], set()
    for s in sentences:
        text = s.text.lower()
        if not SHORTEST <= len(s.tokens) <= LONGEST:
            left[f"not of {SHORTEST}-{LONGEST} tokens"] += 1
        elif len(s.text.split()) != len(s.tokens):
            left["blank inside a token"] += 1
        elif text in seen:
            left["duplicates"] += 1
        else:
            seen.add(text)
            kept.append(s)
    left["used"] = len(kept)
    return kept, dict(left)


def card_of(name: str, built: Built) -> dict[str, Any]:
    """What the file is: definition, filters, counts, balance, majority rates (0-1), groups (null where there are none)."""
    members = {s: {row.group for row in built.rows if row.split == s} for s in SHARES}
    grouped = all(row.group for row in built.rows) and len(set().union(*members.values())) > 1
    counts = {s: Counter(row.label for row in built.rows if row.split == s) for s in SHARES}
    sizes = {s: sum(count.values()) for s, count in counts.items()}
    few = len(counts["tr"]) <= 30
    return {
        "task": name,
        "definition": built.definition,
        "split": built.split,
        "filters": {**built.filters, "written": len(built.rows)},
        "details": built.details,
        "n": sizes,
        "n_classes": len(counts["tr"]),
        "counts": {
            s: dict(sorted(c.items())) if few else {"smallest": min(c.values()), "largest": max(c.values())}
            for s, c in counts.items()
        },
        "majority": {s: round(max(c.values()) / sizes[s], 4) for s, c in counts.items()},
        "groups": {"by": built.groups, **{s: len(names) for s, names in members.items()}} if grouped else None,
    }


def grammar_tasks(root: str | Path, seed: int = 0, n: int = 20_000) -> Path:
    """The folder of the ten tasks from the built-in grammar, made below `root` when it is not there whole and
    unchanged.

    Its name carries n, seed and a hash of the code that made it; `manifest.json` carries the hash of every file. Below
    5,000 sentences, which are for trying things out, a split may have fewer than `MIN_PER_SPLIT` of a class: n / 160, at
    least 7.
    """
    root = Path(root).expanduser()
    folder = root / f"grammar-{n}-{seed}-{code_sha256()[:12]}"
    if whole(folder):
        return folder
    if folder.exists():
        shutil.rmtree(folder)
    corpus = grammar.corpus(n, seed)
    try:
        with atomic(folder) as temporary:
            options = {"seed": seed, "min_per_split": min(MIN_PER_SPLIT, max(7, n // 160))}
            make_tasks(corpus.sentences, temporary, source=corpus.name, source_sha256=corpus.sha256, **options)
            files = {path.name: file_sha256(path) for path in sorted(temporary.iterdir())}
            manifest = {"source": "grammar", "n": n, "seed": seed, "files": files}
            (temporary / "manifest.json").write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")
    except OSError:
        if not whole(folder):  # else another process was faster with the same bytes
            raise
    return folder


def whole(folder: Path) -> bool:
    """Whether the manifest is there and every file has the hash it names."""
    try:
        files = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["files"]
        return all(file_sha256(folder / name) == sha for name, sha in files.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def code_sha256() -> str:
    """Hash of the source of everything that the grammar's files depend on."""
    modules = [Path(m.__file__) for m in (grammar, phrases, lexicon, parsed) if m.__file__]
    digest = hashlib.sha256()
    for path in [*modules, *sorted(Path(__file__).parent.glob("*.py"))]:
        digest.update(path.read_bytes())
    return digest.hexdigest()

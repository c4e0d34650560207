"""Makes the ten tasks from parsed text, and from the built-in grammar. `make_tasks` writes into a folder, for each task:

    <task>.txt          the task: split TAB label TAB sentence
         .card.json     definition, filters, counts per class and split, balance, hash of the source, seed
         .groups.txt    on line i the group of line i of the task's file; only where there are groups

Sentences of one group are not independent. Where the split is drawn by form, the group is the form; for all other tasks it is the
document, where the corpus names documents (GUM's table, `# newdoc` in CoNLL-U). No sentence of the corpus occurs twice in a task;
sentences that differ in case only count as one, other near-duplicates stay.

A corpus with constituents gives the ten tasks of Conneau et al. 2018 (`PENN`); one with dependencies gives substitutes with other
names where constituents are needed (`UD`); plain sentences give the tasks that need no parse. `left_out.json` records why a task is
not made. Every task draws from a generator of its own (seed and name): its bytes do not depend on which other tasks are made.
"""

from __future__ import annotations

import gc
import hashlib
import json
import shutil
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from probing.data.builders import coordination, semantic, surface, syntactic, ud
from probing.data.builders.sampling import SHARES, Built, LeftOut, Options
from probing.data.builders.sharing import share_sentences
from probing.data.grammar import grammar, lexicon, phrases
from probing.data.readers import parsed
from probing.data.readers.parsed import Sentence
from probing.errors import DataError, did_you_mean
from probing.files import atomic, file_sha256, replace_file

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
UD = tuple(
    "sentence_length word_content ud_tree_depth ud_top_relations bigram_shift ud_past_present ud_subj_number ud_obj_number "
    "ud_odd_man_out ud_coordination_inversion".split()
)
SHORTEST, LONGEST = 5, 28
SHORT = 14
LONGER = {"sentence_length": 20, "tree_depth": 20, "coordination_inversion": 18, "past_present": 18}
LEFT_OUT = "left_out.json"
ENDINGS = (".txt", ".groups.txt", ".card.json")
MIN_PER_SPLIT = 30  # the 95 % interval of a share of 30 sentences is ±18 points wide


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
    sizes: Mapping[str, int] | None = None,
) -> dict[str, dict[str, Any] | str]:
    """Make tasks and write them, one after the other; each file is written whole or not at all.

    Args:
        sentences: those of 5-28 tokens are used, each text once.
        out: the folder; files of an earlier call are replaced, files of another origin never.
        language: recorded in the cards.
        seed: of all draws; the same seed gives the same bytes.
        source, source_sha256: recorded in the cards.
        tasks: names of `BUILDERS`; None takes `UD` for dependencies without trees and `PENN` for all else.
        min_per_split: sentences that every class must have in each of train, dev and test after filters and balancing,
            else the task is not made. Tasks with classes by frequency (lengths, depths, top structures) drop rare classes first,
            word_content counts all its words together.
        sizes: about so many rows in the splits tr, va and te, with sentences that tasks share (`sharing`), in place of 80/10/10;
            the bytes of a task then depend on the other tasks. Word content has 100 words; sentences have at most `SHORT`
            tokens, or as many as `LONGER` says where a task needs several lengths, depths or clauses.

    Returns:
        for each task its card, or the reason why it was not made.

    Raises:
        DataError: an unknown task, or a task file in `out` without the card that is written with it.
    """
    sentences = list(sentences)
    trees = any(s.tree for s in sentences)
    names = list(
        tasks
        if tasks is not None
        else UD
        if not trees and any(s.dependencies and s.dependencies.heads for s in sentences)
        else PENN
    )
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
    kept, common = prepared(sentences)
    official = bool(kept) and all(s.split for s in kept) and {s.split for s in kept} == set(SHARES)
    options = Options(min_per_split, official)
    if sizes is not None:
        options = Options(min_per_split, False, words=100, per_word=max(10, -(-sum(sizes.values()) // 100)))
    result: dict[str, dict[str, Any] | str] = {}
    built: dict[str, Built] = {}
    for name in names:
        try:
            built[name] = _built(name, kept, seed, options, sizes)
        except LeftOut as reason:
            result[name] = str(reason)
            for ending in ENDINGS:
                (out / f"{name}{ending}").unlink(missing_ok=True)
    if sizes is not None:
        built = share_sentences(built, sizes, np.random.default_rng(seed))
    for name, task in built.items():
        card = card_of(name, task)
        card |= {"corpus": common, "language": language, "source": source, "source_sha256": source_sha256}
        card |= {"seed": seed, "min_per_split": min_per_split}
        text = "".join(f"{row.split}\t{row.label}\t{' '.join(row.tokens)}\n" for row in task.rows)
        card["file_sha256"] = hashlib.sha256(text.encode()).hexdigest()
        for ending in (".txt", ".groups.txt"):  # removed first: a task's file never lies beside the groups of an older one
            (out / f"{name}{ending}").unlink(missing_ok=True)
        write(f"{name}.card.json", json.dumps(card, indent=1, ensure_ascii=False, sort_keys=True) + "\n")
        if card["groups"]:
            write(f"{name}.groups.txt", "".join(f"{row.group}\n" for row in task.rows))
        write(f"{name}.txt", text)
        result[name] = card
    result = {name: result[name] for name in names}
    reasons = {name: card for name, card in result.items() if isinstance(card, str)}
    (out / LEFT_OUT).unlink(missing_ok=True)
    if reasons:
        write(LEFT_OUT, json.dumps(reasons, indent=1, ensure_ascii=False) + "\n")
    return result


def left_out(folder: Path) -> dict[str, str]:
    """Why tasks of a folder of `make_tasks` were not made: task -> reason."""
    path = folder / LEFT_OUT
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def _built(name: str, kept: Sequence[Sentence], seed: int, options: Options, sizes: Mapping[str, int] | None) -> Built:
    """The task from all sentences; with `sizes` from short ones, as far as the task allows (their vectors cost less), and from the
    first quarter or half of them if that gives rows enough."""
    if sizes is not None:
        kept = [s for s in kept if len(s.tokens) <= LONGER.get(name, SHORT)]
    for part in (1,) if sizes is None else (4, 2, 1):
        rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        try:
            built = BUILDERS[name](kept[: len(kept) // part], rng, options)
        except LeftOut:
            if part == 1:
                raise
        else:
            if sizes is None or len(built.rows) >= sum(sizes.values()):
                break
    return built


def prepared(sentences: Sequence[Sentence]) -> tuple[list[Sentence], dict[str, int]]:
    """The sentences that all tasks start from, and the numbers of sentences that each filter dropped."""
    counts: Counter[str] = Counter({"sentences": len(sentences)})
    kept, seen = [], set()
    for s in sentences:
        text = s.text.lower()
        if not SHORTEST <= len(s.tokens) <= LONGEST:
            counts[f"not of {SHORTEST}-{LONGEST} tokens"] += 1
        elif len(s.text.split()) != len(s.tokens):
            counts["blank inside a token"] += 1
        elif text in seen:
            counts["duplicates"] += 1
        else:
            seen.add(text)
            kept.append(s)
    counts["used"] = len(kept)
    return kept, dict(counts)


def card_of(name: str, built: Built) -> dict[str, Any]:
    """Describe a task: definition, filters, counts, balance, majority rates (0-1), groups (null where there are none)."""
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


def grammar_tasks(root: str | Path, seed: int = 0, n: int = 20_000, sizes: Mapping[str, int] | None = None) -> Path:
    """The folder of the ten tasks from the built-in grammar, made below `root` unless it is there, whole and unchanged.

    Its name carries n, seed and a hash of the code that made it; `manifest.json` carries the hash of every file. Below 5,000
    sentences, for trials, a split may have fewer than `MIN_PER_SPLIT` of a class: n / 160, at least 7. `sizes`: see `make_tasks`.
    """
    root = Path(root).expanduser()
    drawn = "" if sizes is None else "-" + "-".join(map(str, sizes.values()))
    folder = root / f"grammar-{n}-{seed}{drawn}-{code_sha256()[:12]}"
    if whole(folder):
        return folder
    if folder.exists():
        shutil.rmtree(folder)
    try:
        with atomic(folder) as temporary, uncollected():
            corpus = grammar.corpus(n, seed)
            least = min(MIN_PER_SPLIT if sizes is None else 2 * MIN_PER_SPLIT, max(7, n // 160))
            about = {"source": corpus.name, "source_sha256": corpus.sha256}
            make_tasks(corpus.sentences, temporary, **about, seed=seed, min_per_split=least, sizes=sizes)
            files = {path.name: file_sha256(path) for path in sorted(temporary.iterdir())}
            manifest = {"source": "grammar", "n": n, "seed": seed, "files": files}
            (temporary / "manifest.json").write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")
    except OSError:
        if not whole(folder):  # else another process made the same folder first
            raise
    return folder


@contextmanager
def uncollected() -> Iterator[None]:
    """Turns Python's cyclic garbage collector off: trees hold no cycles, and its scans of them took half of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def whole(folder: Path) -> bool:
    """Whether the folder holds a manifest and every file has the hash that the manifest records."""
    try:
        files = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["files"]
        return all(file_sha256(folder / name) == sha for name, sha in files.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def code_sha256() -> str:
    """Hash of the source of all code that the grammar's files depend on."""
    modules = [Path(m.__file__) for m in (grammar, phrases, lexicon, parsed) if m.__file__]
    sources = [*modules, *sorted(Path(__file__).parent.glob("*.py"))]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()

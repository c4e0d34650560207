"""Readers of tests of preference in their published formats, and of a user's own pairs. Each names file and line in its errors."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from probing.behaviour.items import Facet, Item, Pairs
from probing.data.readers.files import bare_name, bare_suffix, find_file, read_text, text_lines
from probing.errors import DataError
from probing.log import excerpt

S_SELECTION = ("animate_subject_passive", "animate_subject_trans")
"""Paradigms that BLiMP's files call s-selection, and its paper and results argument structure."""


@dataclass
class Blimp(Pairs):
    """BLiMP (Warstadt et al. 2020, TACL): JSON lines with sentence_good, sentence_bad, UID, linguistics_term; one file or several.

    Groups are the twelve phenomena of the paper. Its field `lexically_identical` is wrong for 11 paradigms, and is not used.
    """

    root: str
    n: int | None = None
    name: str = "blimp"

    def read(self, root: Path) -> Iterator[Item]:
        for path in files_of(root, ".jsonl"):
            for number, line in enumerate(text_lines(path), start=1):
                row = _json(line, path, number)
                try:
                    good, bad, paradigm = row["sentence_good"], row["sentence_bad"], row["UID"]
                    group = "argument_structure" if paradigm in S_SELECTION else row["linguistics_term"]
                except (KeyError, TypeError):
                    raise DataError(
                        f"{path}, line {number}: a pair has sentence_good, sentence_bad, UID and linguistics_term; this one "
                        f"has {', '.join(row) if isinstance(row, dict) else type(row).__name__}"
                    ) from None
                method = next((m for m in ("one_prefix_method", "two_prefix_method") if row.get(m)), "simple_LM_method")
                yield Item(0, str(paradigm), str(group), str(good), (str(bad),), facets={"method": method})


@dataclass
class Linzen(Pairs):
    """Items of Linzen et al. (2016) as Gulordava et al. (2018) released them: NAME.text and NAME.gold (`probing.data.agreement`).

    A gold form that differs from the text in case alone is taken as the text has it, and the other form in that case, too.
    """

    root: str
    file: str = "subj_agr_filtered"
    n: int | None = None
    name: str = "linzen"

    tokenised = True

    def read(self, root: Path) -> Iterator[Item]:
        paths = [find_file(root, f"{self.file}.{ending}") for ending in ("text", "gold")]
        text, gold = paths
        if text is None or gold is None:
            raise DataError(f"{root} must hold {self.file}.text and {self.file}.gold, plain, .gz or .xz (data.file=… names others)")
        sentences, answers = (read_text(path).rstrip("\n").split("\n") for path in (text, gold))
        if len(sentences) != len(answers):
            raise DataError(f"{text} has {len(sentences)} lines and {gold} {len(answers)}; line i of one is line i of the other")
        mended = []
        for number, (sentence, answer) in enumerate(zip(sentences, answers, strict=True), start=1):
            words, fields = sentence.removesuffix("<eos>").split(), answer.split("\t")
            if len(fields) != 4 or not (fields[0] + fields[3]).isdigit() or int(fields[0]) >= len(words):
                raise DataError(
                    f"{gold}, line {number}: {answer!r} must be the position of a word of {text}, the verb, its other form and the "
                    "number of attractors, with tabs between them"
                )
            at, verb, other, attractors = int(fields[0]), fields[1], fields[2], int(fields[3])
            if words[at] != verb and words[at].lower() == verb.lower():
                verb, other = words[at], other.lower()
                mended.append(number)
            facets: dict[str, Facet] = {"attractors": attractors, "words before": _binned(at)}
            yield _item(
                f"{min(attractors, 4)} attractors" if attractors != 1 else "1 attractor",
                "agreement",
                words,
                at,
                (verb, other),
                facets,
            )
        if mended:
            lines = ", ".join(map(str, mended))
            self.notes.append(
                f"{len(mended)} gold forms differ from the text in case, and were read as the text has them (lines {lines})"
            )


@dataclass
class Gulordava(Pairs):
    """Agreement items of Gulordava et al. (2018): a .tab file with a line for each form, and one item for each pair of lines.

    `file`: such as generated.tab. Facets: attractors, distance (words between the ends of the construction), kind.
    """

    root: str
    file: str = "generated.tab"
    n: int | None = None
    name: str = "gulordava"

    tokenised = True

    def read(self, root: Path) -> Iterator[Item]:
        path = find_file(root, self.file) if root.is_dir() else root
        if path is None:
            raise DataError(f"{root} holds no {self.file} (data.file=… names another)")
        for item, _ in released(path):
            yield item


def released(path: Path) -> Iterator[tuple[Item, Mapping[str, tuple[float, float]]]]:
    """Items of a .tab file with the scores of its model columns, by column (right, wrong): those that hold log-probabilities, named
    hidden…, and freq, the frequency of the form in the training text.

    Raises:
        DataError: a column is missing, or an item has not one correct and one wrong form.
    """
    needed = ("pattern", "constr_id", "sent_id", "form", "class", "type", "prefix", "n_attr", "len_context", "sent")
    reader = csv.DictReader(io.StringIO(read_text(path)), delimiter="\t")
    if absent := [name for name in needed if name not in (reader.fieldnames or ())]:
        raise DataError(f"{path} lacks the columns {', '.join(absent)}; a .tab file of Gulordava et al. has {', '.join(needed)}")
    forms: dict[tuple[str, ...], dict[str, tuple[int, dict[str, str]]]] = {}
    for row in reader:
        key = tuple(row[name] for name in ("pattern", "constr_id", "sent_id"))
        if row["class"] not in ("correct", "wrong") or row["class"] in forms.setdefault(key, {}):
            raise DataError(f"{path}, line {reader.line_num}: each item has one correct and one wrong form, in the column class")
        forms[key][row["class"]] = reader.line_num, row
    columns = [name for name in reader.fieldnames or () if name.startswith(("hidden", "ngram", "srnn")) or name == "freq"]
    for pair in forms.values():
        if len(pair) < 2:
            number, row = next(iter(pair.values()))
            raise DataError(f"{path}, line {number}: the item has no {'wrong' if row['class'] == 'correct' else 'correct'} form")
        (number, right), (_, wrong) = pair["correct"], pair["wrong"]
        kind = "original" if right["type"] == "original" else "nonce"
        before = right["prefix"].split()
        facets: dict[str, Facet] = {"attractors": int(right["n_attr"]), "distance": int(right["len_context"]), "kind": kind}
        facets["pattern"] = right["pattern"]
        rest = right["sent"].removesuffix("<eos>").split()[len(before) + 1 :]
        item = _item(kind, right["pattern"], [*before, right["form"], *rest], len(before), (right["form"], wrong["form"]), facets)
        try:
            yield item, {name: (float(right[name]), float(wrong[name])) for name in columns}
        except ValueError:
            raise DataError(f"{path}, line {number}: a score is no number") from None


@dataclass
class PairFile(Pairs):
    """A user's own pairs: a file of `right<TAB>wrong[<TAB>paradigm]`, or JSON lines with right, wrong (a text or a list), and
    paradigm, group, source, target, facets where there are any; or a folder of such files, whose names are then the paradigms."""

    root: str
    n: int | None = None
    name: str = "pairs"

    def read(self, root: Path) -> Iterator[Item]:
        paths = [path for ending in (".tsv", ".jsonl", ".txt") for path in files_of(root, ending, needed=False)]
        if not paths:
            raise DataError(f"{root} holds no .tsv, .txt or .jsonl file of pairs (right<TAB>wrong[<TAB>paradigm])")
        for path in paths:
            default = bare_name(path).rpartition(".")[0]
            for number, line in enumerate(text_lines(path), start=1):
                if not line.strip():
                    continue
                yield (_of_json if bare_suffix(path) == ".jsonl" else _of_tsv)(line, path, number, default)


def _of_tsv(line: str, path: Path, number: int, default: str) -> Item:
    right, *more = (part.strip() for part in line.split("\t"))
    if not right or not 1 <= len(more) <= 2 or not more[0]:
        several = '; several wrong texts are JSON lines, {"right": …, "wrong": […]}, in a .jsonl file' * (len(more) > 2)
        raise DataError(
            f"{path}, line {number}: {excerpt(line)!r} is no pair: give right<TAB>wrong, or right<TAB>wrong<TAB>paradigm{several}"
        )
    paradigm = more[1] if len(more) > 1 and more[1] else default
    return Item(0, paradigm, paradigm, right, (more[0],))


def _of_json(line: str, path: Path, number: int, default: str) -> Item:
    row = _json(line, path, number)
    allowed = {"right", "wrong", "paradigm", "group", "source", "target", "facets"}
    wrong = row.get("wrong") if isinstance(row, dict) else None
    wrong = [wrong] if isinstance(wrong, str) else wrong
    if not isinstance(wrong, list) or not wrong or not all(isinstance(one, str) and one for one in [row.get("right"), *wrong]):
        raise DataError(f'{path}, line {number}: a pair is {{"right": text, "wrong": text or a list of texts}}, no empty ones')
    if unknown := sorted(set(row) - allowed):
        raise DataError(f"{path}, line {number}: unknown keys {', '.join(unknown)} (allowed: {', '.join(sorted(allowed))})")
    target = row.get("target")
    longest = min(len(text.split()) for text in (row["right"], *wrong))
    if target is not None and (not isinstance(target, int) or isinstance(target, bool) or not 0 <= target < longest):
        raise DataError(f"{path}, line {number}: target={target!r} must be the place of a word in all texts (0 to {longest - 1})")
    source = row.get("source")
    if source is not None and not isinstance(source, str):
        raise DataError(f"{path}, line {number}: source={source!r} must be the text that right and wrong are translations of")
    paradigm = str(row.get("paradigm", default))
    facets = row.get("facets", {})
    if not isinstance(facets, dict) or not all(isinstance(value, Facet) for value in facets.values()):
        raise DataError(f"{path}, line {number}: facets must be names with numbers or texts")
    return Item(0, paradigm, str(row.get("group", paradigm)), row["right"], tuple(wrong), target, facets, source=source)


def _item(paradigm: str, group: str, words: list[str], at: int, forms: tuple[str, str], facets: Mapping[str, Facet]) -> Item:
    """An item about the word at a place, of the right and the wrong form."""
    right, wrong = (" ".join([*words[:at], form, *words[at + 1 :]]) for form in forms)
    return Item(0, paradigm, group, right, (wrong,), at, facets)


def _binned(n: int) -> str:
    """A number of words in bins.

    >>> [_binned(n) for n in (1, 8, 15, 30)]
    ['1-4', '5-9', '10-19', '20+']
    """
    return next((name for end, name in ((5, "1-4"), (10, "5-9"), (20, "10-19")) if n < end), "20+")


def files_of(root: Path, ending: str, needed: bool = True) -> list[Path]:
    """The file itself, or the files of a folder with this ending, plain, .gz or .xz, by name."""
    if root.is_file():
        return [root] if bare_suffix(root) == ending or needed else []
    paths = sorted(path for path in root.iterdir() if bare_suffix(path) == ending)
    if ending == ".jsonl":
        paths = [path for path in paths if "summary" not in path.name]  # of results, beside BLiMP's pairs
    if needed and not paths:
        raise DataError(f"{root} holds no {ending} file, plain, .gz or .xz")
    return paths


def _json(line: str, path: Path, number: int) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}, line {number}: no JSON ({error})") from None

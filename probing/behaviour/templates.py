"""Readers of templates, Marvin & Linzen (2018) and Lakretz et al. (2019), and of contrastive translations."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from probing.behaviour.items import Facet, Item, Pairs
from probing.behaviour.readers import files_of
from probing.data.readers.files import bare_name, bare_suffix, read_bytes, read_text, text_lines
from probing.errors import DataError
from probing.log import excerpt


@dataclass
class MarvinLinzen(Pairs):
    """Templates of Marvin & Linzen (2018): pickles of a dict from a construction to pairs, or triples, of sentences; or TSV files
    `construction<TAB>right<TAB>wrong[<TAB>worse]`.

    Triples (negative polarity items) are grammatical, intrusive, ungrammatical: three comparisons, g > i, g > u and i > u.
    Sentences get the final period that the authors' writer gives them. Of a pickle, only dicts, lists, tuples and text are read.
    """

    root: str
    n: int | None = None
    name: str = "marvin_linzen"

    def read(self, root: Path) -> Iterator[Item]:
        paths = [path for ending in (".pickle", ".tsv") for path in files_of(root, ending, needed=False)]
        if not paths:
            raise DataError(f"{root} holds no .pickle and no .tsv file of templates")
        for path in paths:
            for name, sentences in _templates(path):
                kind = bare_name(path).rpartition(".")[0]
                closed = [s if s.rstrip().endswith((".", "?", "!")) else f"{s.rstrip()} ." for s in sentences]
                for label, a, b in [("", 0, 1)] if len(closed) == 2 else [(" g>i", 0, 1), (" g>u", 0, 2), (" i>u", 1, 2)]:
                    yield Item(0, kind + label, kind, closed[a], (closed[b],), facets={"construction": name})


class _Plain(pickle.Unpickler):
    """Reads dicts, lists, tuples, numbers and text, and no class or function."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it holds {module}.{name}, and only plain lists of text are read")


def _templates(path: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Construction and its sentences, of each item of a file."""
    if bare_suffix(path) == ".tsv":
        for number, line in enumerate(text_lines(path), start=1):
            name, *sentences = line.split("\t")
            if len(sentences) not in (2, 3):
                raise DataError(
                    f"{path}, line {number}: give construction, right and wrong sentence (and a worse one), tabs between them"
                )
            yield name, tuple(sentences)
        return
    try:
        content = _Plain(io.BytesIO(read_bytes(path)), encoding="latin-1").load()
        for name, items in content.items():
            for item in items:
                if len(item) not in (2, 3) or not all(isinstance(one, str) for one in item):
                    raise ValueError(f"{name}: {excerpt(repr(item))} is no pair or triple of sentences")
                yield str(name), tuple(item)
    except DataError:
        raise
    except Exception as error:  # a damaged pickle raises many kinds
        raise DataError(f"{path} cannot be read as templates: {error}") from None


@dataclass
class Lakretz(Pairs):
    """Number agreement tasks of Lakretz et al. (2019): lines `sentence<TAB>condition<TAB>correct|wrong<TAB>id`, two for each id.

    The word in which both differ is scored. A paradigm is a file; the facet is the condition: numbers of subject and distractor.
    """

    root: str
    n: int | None = None
    name: str = "lakretz"

    tokenised = True

    def read(self, root: Path) -> Iterator[Item]:
        for path in files_of(root, ".txt"):
            forms: dict[str, dict[str, tuple[int, list[str], str]]] = {}
            for number, line in enumerate(text_lines(path), start=1):
                fields = line.split("\t")
                if len(fields) != 4 or fields[2] not in ("correct", "wrong") or fields[2] in forms.setdefault(fields[3], {}):
                    raise DataError(
                        f"{path}, line {number}: give sentence, condition, correct or wrong (each once), and id, tabs between"
                    )
                forms[fields[3]][fields[2]] = number, fields[0].split(), fields[1]
            for name, pair in forms.items():
                number, right, condition = next(iter(pair.values()))
                places = []
                if len(pair) == 2:
                    number, right, condition = pair["correct"]
                    wrong = pair["wrong"][1]
                    places = [k for k, (a, b) in enumerate(zip(right, wrong, strict=False)) if a != b]
                if len(places) != 1 or len(right) != len(wrong):
                    raise DataError(
                        f"{path}, line {number}: the item {name} needs a correct and a wrong sentence that differ in one word"
                    )
                paradigm = bare_name(path).rpartition(".")[0]
                texts = " ".join(right), " ".join(wrong)
                yield Item(0, paradigm, paradigm, texts[0], (texts[1],), places[0], {"condition": condition})


@dataclass
class Contrastive(Pairs):
    """Contrastive translations (LingEval97, ContraWSD): JSON, a list of items with source, reference, and errors, each with its
    `contrastive` translation, `type`, and perhaps `frequency` (of a sense) and `distance` (in words), which are facets.

    A right text is the reference, correct iff it beats all its variants. They are scored given the source, by a model with encoder
    and decoder; `target_only`: without it, by any other language model.
    """

    root: str
    target_only: bool = False
    n: int | None = None
    name: str = "contrastive"

    def read(self, root: Path) -> Iterator[Item]:
        for path in files_of(root, ".json"):
            try:
                content = json.loads(read_text(path))
                for number, row in enumerate(content):
                    errors = row["errors"]
                    kind, source = str(errors[0].get("type", bare_name(path))), None if self.target_only else str(row["source"])
                    facets: dict[str, Facet] = {}
                    for name, bins in (("frequency", _frequency), ("distance", _distance)):
                        if (value := errors[0].get(name)) is not None:
                            facets["sense frequency" if name == "frequency" else name] = bins(int(value))
                    wrong = tuple(str(one["contrastive"]) for one in errors)
                    yield Item(number, kind, kind, str(row["reference"]), wrong, facets=facets, source=source)
            except (ValueError, KeyError, TypeError, IndexError, RecursionError, AttributeError) as error:
                raise DataError(
                    f"{path} is no list of items with source, reference and errors (each with contrastive and type): "
                    f"{type(error).__name__}: {error}"
                ) from None


def _distance(n: int) -> str:
    """
    >>> [_distance(n) for n in (0, 4, 12, 16)]
    ['0', '4', '11-15', '16+']
    """
    return str(n) if n <= 5 else next((name for end, name in ((10, "6-10"), (15, "11-15")) if n <= end), "16+")


def _frequency(n: int) -> str:
    """Bins of the frequency of a sense, as in ContraWSD."""
    bounds = (20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)
    low = 0
    for high in bounds:
        if n <= high:
            return f"{low}-{high}"
        low = high
    return ">10000"

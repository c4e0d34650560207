"""Reads parsed text: Penn brackets, CoNLL-U, GUM's table of trees, and plain sentences, plain or compressed (.gz, .xz).

Every reader yields `Sentence`: the tokens as they stand in running text, with what the source knows about them.
Penn brackets (Marcus et al. 1993): the outer bracket is called ROOT; traces (-NONE-) and the phrases that they leave empty are
removed; -LRB- and the like become brackets, `` and '' become ". CoNLL-U (universaldependencies.org/format): a multiword token
(`3-4`) is one token of the text whose words keep their arcs; empty nodes (`5.1`) are skipped. GUM's table: `document-index TAB
tree`, with the corpus' own list of documents per split (splits.md; its out-of-domain test2 counts as test). UD file names with
-train, -dev, -test carry the split.

Left out: no parsing, no tokenisation, and no re-tokenisation to Moses' conventions; enhanced dependencies are not read.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from probing.corpora.senteval import read_bytes
from probing.errors import DataError, ProbingError

SPLIT_NAMES = {"train": "tr", "dev": "va", "test": "te", "test2": "te"}
KINDS = {".mrg": "penn", ".ptb": "penn", ".penn": "penn", ".conllu": "conllu", ".conll": "conllu"}
BRACKETS = {"-LRB-": "(", "-RRB-": ")", "-LSB-": "[", "-RSB-": "]", "-LCB-": "{", "-RCB-": "}", "``": '"', "''": '"'}


@dataclass(frozen=True, slots=True)
class Node:
    """A constituent: a phrase with children, or a tag with its word."""

    label: str
    children: tuple[Node, ...] = ()
    word: str | None = None

    @property
    def category(self) -> str:
        """The label without function tags and indices: NP-SBJ-1 is NP, -LRB- stays."""
        return self.label if self.label[:1] == "-" else re.split(r"[-=]", self.label, maxsplit=1)[0]

    @property
    def functions(self) -> frozenset[str]:
        """The function tags: NP-SBJ-1 has SBJ."""
        return frozenset() if self.label[:1] == "-" else frozenset(re.split(r"[-=]", self.label)[1:])

    @property
    def depth(self) -> int:
        """Nodes on the longest way down, this one and the tag included and the word not: nltk's height less one."""
        return 1 + max((child.depth for child in self.children), default=0)

    def leaves(self) -> list[Node]:
        """The tag nodes, from left to right."""
        return [leaf for child in self.children for leaf in child.leaves()] if self.children else [self]

    def __str__(self) -> str:
        return f"({self.label} {self.word if self.word is not None else ' '.join(map(str, self.children))})"


@dataclass(frozen=True)
class Dependencies:
    """A dependency tree over words 0..w-1: `heads` holds word numbers, -1 at the root; `token` is the word's token in the text."""

    heads: tuple[int, ...]
    relations: tuple[str, ...]
    upos: tuple[str, ...]
    features: tuple[Mapping[str, str], ...]
    forms: tuple[str, ...]
    token: tuple[int, ...]

    def children(self, head: int) -> list[int]:
        return [word for word, above in enumerate(self.heads) if above == head]

    def relation(self, word: int) -> str:
        """The universal relation, without a language's subtype: nsubj:pass is nsubj."""
        return self.relations[word].partition(":")[0]


@dataclass(frozen=True)
class Sentence:
    """Tokens, and what is known of them: tags (one a token), a tree or dependencies; `split` (tr, va, te) if the source gives it."""

    tokens: tuple[str, ...]
    tags: tuple[str, ...] = ()
    tree: Node | None = None
    dependencies: Dependencies | None = None
    split: str | None = None

    @property
    def text(self) -> str:
        return " ".join(self.tokens)


@dataclass(frozen=True)
class Corpus:
    """Sentences with the name of the files they came from and the sha256 of the files' unpacked content."""

    name: str
    sha256: str
    sentences: tuple[Sentence, ...] = field(repr=False)


def from_tree(tree: Node, split: str | None = None) -> Sentence | None:
    """The sentence of a tree under ROOT, or None where nothing but traces is in it."""
    bare = without_traces(tree if tree.label in ("ROOT", "TOP", "S1", "") else Node("ROOT", (tree,)))
    if bare is None:
        return None
    bare = Node("ROOT", bare.children)
    leaves = bare.leaves()
    return Sentence(tuple(leaf.word or "" for leaf in leaves), tuple(leaf.label for leaf in leaves), bare, split=split)


def without_traces(node: Node) -> Node | None:
    """The tree without -NONE- and without phrases that held nothing else."""
    if node.word is not None:
        word = BRACKETS.get(node.word, node.word).replace("\\/", "/").replace("\\*", "*")
        return None if node.label == "-NONE-" else Node(node.label, word=word)
    children = tuple(kept for child in node.children if (kept := without_traces(child)) is not None)
    return Node(node.label, children) if children else None


def read_penn(path: Path, text: str | None = None) -> Iterator[Sentence]:
    """Trees in brackets, each on one line or over many.

    Raises:
        DataError: brackets that do not match, or a node that is neither phrase nor tag; file and line are named.
    """
    begun, level, parts = 0, 0, []
    for number, line in enumerate((decoded(path) if text is None else text).split("\n"), start=1):
        for part in re.findall(r"[()]|[^()]+", line):
            if level == 0 and part.isspace():
                continue
            if level == 0 and part != "(":
                raise DataError(f"{path}, line {number}: {part.strip()[:40]!r} stands outside of brackets; a tree is (ROOT ...)")
            begun = number if level == 0 else begun
            level += (part == "(") - (part == ")")
            parts.append(part)
            if level == 0:
                yield from penn_sentence("".join(parts), f"{path}, line {begun}")
                parts = []
        parts.append(" ")
        parts = parts if level else []
    if level:
        raise DataError(f"{path}, line {begun}: unbalanced brackets, {level} opened here or below and never closed; mend the tree")


def read_gum(path: Path, split_file: Path | None = None) -> Iterator[Sentence]:
    """GUM's table; with `split_file` every document must be listed there."""
    splits = document_splits(split_file) if split_file else None
    for number, line in enumerate(decoded(path).split("\n"), start=1):
        if not line.strip():
            continue
        name, tab, tree = line.partition("\t")
        document = name.rpartition("-")[0]
        if not tab or not document:
            raise DataError(f"{path}, line {number}: {line[:40]!r} is not 'document-index<TAB>(tree)'")
        if splits is not None and document not in splits:
            raise DataError(f"{path}, line {number}: {split_file} names no split for the document {document!r}; add it there")
        if tree.count("(") != tree.count(")"):
            opened, closed = tree.count("("), tree.count(")")
            raise DataError(f"{path}, line {number}: unbalanced brackets, {opened} open and {closed} close; mend the tree")
        yield from penn_sentence(tree, f"{path}, line {number}", splits[document] if splits else None)


def penn_sentence(tree: str, where: str, split: str | None = None) -> Iterator[Sentence]:
    """The sentence of one bracketed tree, if there is more than traces in it."""
    try:
        parsed = library("nltk").Tree.fromstring(tree)
    except ValueError as error:
        raise DataError(f"{where}: not a tree in brackets: {' '.join(str(error).split())[:160]}") from None
    sentence = from_tree(converted(parsed, where), split)
    if sentence is not None:
        yield sentence


def converted(tree: Any, where: str) -> Node:
    """nltk's tree as ours."""
    if len(tree) == 1 and isinstance(tree[0], str):
        return Node(tree.label(), word=tree[0])
    if not len(tree) or any(isinstance(child, str) for child in tree):
        raise DataError(f"{where}: the node {str(tree)[:60]!r} is neither a phrase of brackets nor one tag with one word")
    return Node(tree.label(), tuple(converted(child, where) for child in tree))


def document_splits(path: Path) -> dict[str, str]:
    """Document -> split from GUM's splits.md: headings `## dev`, one `* document` a line."""
    splits, current = {}, None
    for line in decoded(path).split("\n"):
        if line.startswith("#"):
            current = SPLIT_NAMES.get(line.strip("# \r"))
        elif current and line.strip().startswith("* "):
            splits[line.strip()[2:].strip()] = current
    if not splits:
        raise DataError(f"{path} lists no documents: expected headings '## train', '## dev', '## test' with '* document' lines")
    return splits


def read_conllu(path: Path) -> Iterator[Sentence]:
    """Sentences of a CoNLL-U file.

    Raises:
        DataError: a line that has not ten columns, or a tree without one root; file and line are named.
    """
    lines = decoded(path).split("\n")
    begun, block = 0, []
    for number, line in enumerate([*lines, ""], start=1):
        if line.strip() and not line.startswith("#"):
            columns = line.count("\t") + 1
            if columns != 10:
                raise DataError(f"{path}, line {number}: {columns} columns, a word of CoNLL-U has ten, tab-separated: {line[:60]!r}")
            begun = begun or number
            block.append(line.rstrip("\r"))
        elif not line.strip() and block:
            yield conllu_sentence("\n".join(block), f"{path}, line {begun}", file_split(path))
            begun, block = 0, []


def file_split(path: Path) -> str | None:
    """tr, va or te of UD file names (de_gsd-ud-dev.conllu.xz), else None."""
    found = re.search(r"[-_.](train|dev|test2|test)\.conllu", path.name)
    return SPLIT_NAMES[found[1]] if found else None


def conllu_sentence(block: str, where: str, split: str | None) -> Sentence:
    """One sentence from its lines."""
    conllu = library("conllu")
    try:
        (rows,) = conllu.parse(block + "\n\n")
    except conllu.exceptions.ParseException as error:
        raise DataError(f"{where}: not CoNLL-U: {' '.join(str(error).split())[:160]}") from None
    spans = [(row["id"][0], row["id"][2], row["form"]) for row in rows if isinstance(row["id"], tuple) and row["id"][1] == "-"]
    words = [row for row in rows if isinstance(row["id"], int)]
    numbers = {row["id"]: k for k, row in enumerate(words)}
    heads = [-1 if row["head"] == 0 else numbers.get(row["head"]) for row in words]
    if None in heads or heads.count(-1) != 1 or not reaches_root(heads):
        raise DataError(f"{where}: the heads do not make one tree (one word with head 0, all others below it); mend HEAD")
    tokens, tags, token = [], [], []
    for row in words:
        span = next((s for s in spans if s[0] <= row["id"] <= s[1]), None)
        if span is None or row["id"] == span[0]:
            tokens.append(row["form"] if span is None else span[2])
            tags.append(row["xpos"] or row["upos"] or "_")
        else:
            tags[-1] += "+" + (row["xpos"] or row["upos"] or "_")
        token.append(len(tokens) - 1)
    dependencies = Dependencies(
        heads=tuple(heads),
        relations=tuple(row["deprel"] or "_" for row in words),
        upos=tuple(row["upos"] or "_" for row in words),
        features=tuple(row["feats"] or {} for row in words),
        forms=tuple(row["form"] for row in words),
        token=tuple(token),
    )
    return Sentence(tuple(tokens), tuple(tags), dependencies=dependencies, split=split)


def reaches_root(heads: list[int]) -> bool:
    """Whether every word comes to -1 by its heads, so that there is no cycle."""
    for word in range(len(heads)):
        steps = 0
        while word >= 0 and steps <= len(heads):
            word, steps = heads[word], steps + 1
        if word >= 0:
            return False
    return True


def read_plain(path: Path) -> Iterator[Sentence]:
    """One sentence a line, tokens between blanks; no tags and no parse."""
    for line in decoded(path).split("\n"):
        if tokens := tuple(line.split()):
            yield Sentence(tokens)


def kind_of(path: Path) -> str:
    """penn, gum, conllu or plain, by the name without .gz and .xz, else by the first line that says something."""
    suffix = Path(path.name.removesuffix(".gz").removesuffix(".xz")).suffix.lower()
    if suffix in KINDS:
        return KINDS[suffix]
    first = next((line for line in decoded(path).split("\n") if line.strip() and not line.startswith("# ")), "")
    if re.match(r"\S+-\d+\t\(", first):
        return "gum"
    if re.match(r"\d+(-\d+)?\t", first):
        return "conllu"
    return "penn" if re.match(r"\s*\(\s*(\(|[A-Z]\S*\s*\()", first) else "plain"


def read_source(path: str | Path, split_file: str | Path | None = None) -> Corpus:
    """Reads a file, or all files of a folder of one kind, with the reader that its name or content asks for.

    Args:
        path: brackets (.mrg, .ptb), CoNLL-U (.conllu), GUM's table, or plain sentences; .gz and .xz of them.
        split_file: GUM's splits.md; without it a splits.md beside the table is taken.

    Raises:
        DataError: nothing there, an empty file, or a line that cannot be read; file and line are named.
    """
    path = Path(path).expanduser()
    files = [path]
    if path.is_dir():
        bare = {file: Path(file.name.removesuffix(".gz").removesuffix(".xz")).suffix for file in sorted(path.rglob("*"))}
        files = [file for file, suffix in bare.items() if suffix in KINDS]
        if not files or len({KINDS[bare[file]] for file in files}) > 1:
            raise DataError(f"{path} must hold treebank files of one kind ({', '.join(KINDS)}); name one file instead")
    sentences: list[Sentence] = []
    for file in files:
        kind = kind_of(file)
        beside = file.parent / "splits.md"
        splits = Path(split_file) if split_file else (beside if kind == "gum" and beside.is_file() else None)
        readers = {"penn": read_penn, "conllu": read_conllu, "plain": read_plain}
        sentences.extend(read_gum(file, splits) if kind == "gum" else readers[kind](file))
    if not sentences:
        raise DataError(f"{path} holds no sentence; give brackets, CoNLL-U, or one sentence a line")
    return Corpus("+".join(file.name for file in files[:4]), sha256_of(files), tuple(sentences))


def sha256_of(files: Iterable[Path]) -> str:
    """Of the unpacked content of the files, one after the other."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(read_bytes(file))
    return digest.hexdigest()


def decoded(path: Path) -> str:
    try:
        return read_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8: byte {error.start} ({error.reason}); convert it, e.g. with iconv") from None


def library(name: str) -> Any:
    """nltk or conllu, which only the readers of brackets and CoNLL-U need."""
    import importlib

    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        raise ProbingError(f"reading this file needs the package {name}: pip install 'probing[treebank]'") from None

"""Reads a corpus: Penn brackets, GUM's table of trees, CoNLL-U, or plain sentences, plain or compressed (.gz, .xz).

`read_source` picks the reader by the file's name or its first line. Nothing is parsed or tokenised.

Penn brackets (Marcus et al. 1993), by nltk: the outer bracket is called ROOT; traces (-NONE-) and the phrases that they leave empty
are removed; -LRB- and the like become brackets, `` and '' become ". Tokens stay as they are (`ca n't`). GUM's table:
`document-index TAB tree`, one a line, with the corpus' own list of documents per split (splits.md); its out-of-domain test2
(GENTLE) counts as test.

CoNLL-U (universaldependencies.org/format), by the conllu library: a multiword token (`3-4`) is one token of the text whose words
keep their arcs; empty nodes (`5.1`) and enhanced dependencies are ignored. File names with -train, -dev, -test carry the
split, comments `# newdoc id = …` the document.

Plain text is one sentence a line, blanks between tokens, for the tasks that need no parse; a table (a line with a tab, or a file
with an ending of `TABLES`) is an error.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from probing.data.readers.files import bare_suffix, library, read_bytes, read_text
from probing.data.readers.formats import is_row
from probing.data.readers.parsed import SPLIT_NAMES, Corpus, Dependencies, Node, Sentence
from probing.errors import DataError

KINDS = {".mrg": "penn", ".ptb": "penn", ".penn": "penn", ".conllu": "conllu", ".conll": "conllu"}
TABLES = (".csv", ".tsv", ".json", ".jsonl")
BRACKETS = {"-LRB-": "(", "-RRB-": ")", "-LSB-": "[", "-RSB-": "]", "-LCB-": "{", "-RCB-": "}", "``": '"', "''": '"'}


def read_source(path: str | Path, split_file: str | Path | None = None) -> Corpus:
    """Read a file, or all files of a folder, which must be of one kind.

    Args:
        path: brackets (.mrg, .ptb), CoNLL-U (.conllu), GUM's table, or plain sentences; .gz and .xz of them.
        split_file: GUM's splits.md; None: the splits.md beside the table, if there is one.

    Raises:
        DataError: no file, an empty file, a table, or a line that cannot be read (not ten columns, brackets that do not match, a
            tree without one root); file and line are named.
    """
    path = Path(path).expanduser()
    files = [path]
    if path.is_dir():
        files = [file for file in sorted(path.rglob("*")) if bare_suffix(file) in KINDS]
        if len({KINDS[bare_suffix(file)] for file in files}) != 1:
            raise DataError(f"{path} must hold treebank files of one kind ({', '.join(KINDS)}); name one file instead")
    sentences: list[Sentence] = []
    for file in files:
        if (kind := kind_of(file)) == "gum":
            beside = file.parent / "splits.md"
            sentences.extend(read_gum(file, Path(split_file) if split_file else beside if beside.is_file() else None))
        else:
            sentences.extend({"penn": read_penn, "conllu": read_conllu, "plain": read_plain}[kind](file))
    if not sentences:
        raise DataError(f"{path} holds no sentence; give brackets, CoNLL-U, or one sentence a line")
    digest = hashlib.sha256()
    for file in files:
        digest.update(read_bytes(file))
    return Corpus("+".join(file.name for file in files[:4]), digest.hexdigest(), tuple(sentences))


def kind_of(path: Path) -> str:
    """penn, gum, conllu or plain: by the ending of the name, else by the first line that is neither blank nor a comment."""
    suffix = bare_suffix(path)
    if suffix in KINDS:
        return KINDS[suffix]
    first = next((line for line in read_text(path).split("\n") if line.strip() and not line.startswith("# ")), "")
    if re.match(r"\S+-\d+\t\(", first):
        return "gum"
    if re.match(r"\d+(-\d+)?\t", first):
        return "conllu"
    return "penn" if re.match(r"\s*\(\s*(\(|[A-Z]\S*\s*\()", first) else "plain"


def read_plain(path: Path) -> Iterator[Sentence]:
    """The sentences of a plain file, one a line, blanks between tokens; without tags and parse."""
    suffix = bare_suffix(path)
    if suffix in TABLES:
        raise DataError(f"{path}: {suffix} is a table, not plain sentences; give a .txt of its sentences alone, one a line")
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if "\t" in line:
            fields = line.split("\t")
            what = "a table, not a plain sentence"
            if is_row(line):
                what = "the format of a finished task; read its folder with data=senteval data.root=FOLDER"
            raise DataError(
                f"{path}, line {number}: {len(fields)} columns with tabs between them ({line[:60]!r}) are {what}; to make tasks "
                f"of its sentences, give that column alone, e.g. cut -f{len(fields)} FILE > sentences.txt"
            )
        if tokens := tuple(line.split()):
            yield Sentence(tokens)


def from_tree(tree: Node, split: str | None = None) -> Sentence | None:
    """The sentence of a tree under ROOT, or None where the tree holds traces only."""
    bare = without_traces(tree if tree.label in ("ROOT", "TOP", "S1", "") else Node("ROOT", (tree,)))
    if bare is None:
        return None
    bare = Node("ROOT", bare.children)
    leaves = bare.leaves()
    return Sentence(tuple(leaf.word or "" for leaf in leaves), tuple(leaf.label for leaf in leaves), bare, split=split)


def without_traces(node: Node) -> Node | None:
    """The tree without -NONE- and without the phrases that hold nothing else; None where no word remains."""
    if node.word is not None:
        word = BRACKETS.get(node.word, node.word).replace("\\/", "/").replace("\\*", "*")
        return None if node.label == "-NONE-" else Node(node.label, word=word)
    children = tuple(kept for child in node.children if (kept := without_traces(child)) is not None)
    return Node(node.label, children) if children else None


def read_penn(path: Path) -> Iterator[Sentence]:
    """The sentences of a file of trees in brackets; a tree may span several lines."""
    begun, level, parts = 0, 0, []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
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
    """The sentences of GUM's table; every document must be listed in `split_file`, if one is given."""
    splits = document_splits(split_file) if split_file else None
    for number, line in enumerate(read_text(path).split("\n"), start=1):
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
        for sentence in penn_sentence(tree, f"{path}, line {number}", splits[document] if splits else None):
            yield replace(sentence, document=document)


def penn_sentence(tree: str, where: str, split: str | None = None) -> Iterator[Sentence]:
    """Yield the sentence of one bracketed tree, or nothing where the tree holds traces only."""
    try:
        sentence = from_tree(converted(library("nltk").Tree.fromstring(tree), where), split)
    except (ValueError, RecursionError) as error:  # a RecursionError: hundreds of nested brackets
        raise DataError(f"{where}: not a tree in brackets: {' '.join(str(error).split())[:160]}") from None
    if sentence is not None:
        yield sentence


def converted(tree: Any, where: str) -> Node:
    """Convert nltk's tree to a `Node`."""
    if len(tree) == 1 and isinstance(tree[0], str):
        return Node(tree.label(), word=tree[0])
    if not len(tree) or any(isinstance(child, str) for child in tree):
        raise DataError(f"{where}: the node {str(tree)[:60]!r} is neither a phrase of brackets nor one tag with one word")
    return Node(tree.label(), tuple(converted(child, where) for child in tree))


def document_splits(path: Path) -> dict[str, str]:
    """Document -> split, from GUM's splits.md: headings `## dev`, one `* document` a line."""
    splits, current = {}, None
    for line in read_text(path).split("\n"):
        if line.startswith("#"):
            current = SPLIT_NAMES.get(line.strip("# "))
        elif current and line.strip().startswith("* "):
            splits[line.strip()[2:].strip()] = current
    if not splits:
        raise DataError(f"{path} lists no documents: expected headings '## train', '## dev', '## test' with '* document' lines")
    return splits


def read_conllu(path: Path) -> Iterator[Sentence]:
    """The sentences of a CoNLL-U file."""
    named = re.search(r"[-_.](train|dev|test2|test)\.conllu", path.name)  # as in de_gsd-ud-dev.conllu.xz
    split = SPLIT_NAMES[named[1]] if named else None
    begun, block, document = 0, [], None
    for number, line in enumerate([*read_text(path).split("\n"), ""], start=1):
        if line.strip() and not line.startswith("#"):
            columns = line.count("\t") + 1
            if columns != 10:
                raise DataError(
                    f"{path}, line {number}: {columns} columns, a word of CoNLL-U has ten, tab-separated: {line[:60]!r}"
                )
            begun = begun or number
            block.append(line)
        elif line.startswith("# newdoc"):
            document = line.partition("=")[2].strip() or None
        elif not line.strip() and block:
            sentence = conllu_sentence("\n".join(block), f"{path}, line {begun}", split)
            yield replace(sentence, document=document)
            begun, block = 0, []


def conllu_sentence(block: str, where: str, split: str | None) -> Sentence:
    """The sentence of the lines of one block."""
    conllu = library("conllu")
    try:
        (rows,) = conllu.parse(block + "\n\n")
    except conllu.exceptions.ParseException as error:
        raise DataError(f"{where}: not CoNLL-U: {' '.join(str(error).split())[:160]}") from None
    spans = [(row["id"][0], row["id"][2], row["form"]) for row in rows if isinstance(row["id"], tuple) and row["id"][1] == "-"]
    words = [row for row in rows if isinstance(row["id"], int)]
    numbers = {row["id"]: k for k, row in enumerate(words)}
    heads = [-1 if row["head"] == 0 else numbers.get(row["head"], k) for k, row in enumerate(words)]  # no such word: a cycle
    heads = [] if all(row["head"] is None for row in words) else heads  # words with tags alone
    above = heads
    for _ in heads:  # one step up from every word: without a cycle all end above the root
        above = [-1 if word < 0 else heads[word] for word in above]
    if heads and (heads.count(-1) != 1 or max(above) >= 0):
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
        xpos=tuple(row["xpos"] or "_" for row in words),
        lemmas=tuple(row["lemma"] or "_" for row in words),
        ranges=len(spans),
        empty=sum(isinstance(row["id"], tuple) and row["id"][1] == "." for row in rows),
    )
    return Sentence(tuple(tokens), tuple(tags), dependencies=dependencies, split=split)

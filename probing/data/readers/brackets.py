"""Reads trees in Penn brackets: from files of trees, and from GUM's table.

Penn brackets (Marcus et al. 1993): the outer bracket is called ROOT; traces (-NONE-) and the phrases that they leave
empty are removed; -LRB- and the like become brackets, `` and '' become ". Tokens stay as they are (`ca n't`). GUM's table:
`document-index TAB tree`, one a line, with the corpus' own list of documents per split (splits.md); its out-of-domain test2
(GENTLE) counts as test. nltk parses the brackets.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from probing.data.readers.files import library, read_text
from probing.data.readers.parsed import SPLIT_NAMES, Node, Sentence
from probing.errors import DataError

BRACKETS = {"-LRB-": "(", "-RRB-": ")", "-LSB-": "[", "-RSB-": "]", "-LCB-": "{", "-RCB-": "}", "``": '"', "''": '"'}


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
    """The sentences of a file of trees in brackets; a tree may span several lines.

    Raises:
        DataError: brackets that do not match, or a node that is neither phrase nor tag; file and line are named.
    """
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

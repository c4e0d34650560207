"""The tasks from Universal Dependencies: substitutes under their own names, not comparable with the originals.

ud_top_relations: `CLAUSAL` relations of the root's dependents (arguments, adverbials, clauses, conjuncts).
ud_past_present: clauses with an auxiliary (`aux`, and its subtypes except aux:pass) are excluded: its tense is not that of the
clause (perfect "hat gesehen", "a vu", "has seen"; future "wird sehen"), and if only those in the present were excluded, an
auxiliary would reveal the class. So are other moods than the indicative ("wäre" is Tense=Past, "serait" Tense=Pres, and neither is
about that time). A main verb that governs an infinitive has the label of its own tense: French "va arriver" is PRES.
ud_odd_man_out: same universal tag and same features in place of the same Penn tag. ud_coordination_inversion: root and conj joined
by the only CCONJ, each with a subject; a first word keeps its case where the corpus has that case mid-sentence. Words inside a
multiword token are never replaced, and never stand at a clause's edge.
Relations and features: universaldependencies.org/u; the originals: facebookresearch/SentEval, data/probing/README.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from probing.data.builders.coordination import Clause, Coordination, inversion_task, keeps_case
from probing.data.builders.sampling import Built, LeftOut, Options
from probing.data.builders.semantic import form_task, replacement_task
from probing.data.builders.syntactic import depth_task, frequent_task
from probing.data.readers.parsed import Dependencies, Sentence

DEPTHS = range(2, 13)
SUBJECTS = {"nsubj", "csubj"}
CLAUSAL = set("nsubj csubj obj iobj ccomp xcomp obl advcl advmod expl vocative discourse dislocated parataxis conj cc".split())
NUMBERS = {"Sing": "Sing", "Plur": "Plur"}
TENSES = {"Past": "PAST", "Imp": "PAST", "Pqp": "PAST", "Pres": "PRES"}


def parsed(sentences: Sequence[Sentence]) -> list[tuple[Sentence, Dependencies]]:
    """Sentences with their dependencies.

    Raises:
        LeftOut: no sentence has any.
    """
    pairs = [(s, s.dependencies) for s in sentences if s.dependencies is not None and s.dependencies.heads]
    if not pairs:
        raise LeftOut("no dependencies in this corpus; give CoNLL-U")
    return pairs


def ud_tree_depth(sentences: Sequence[Sentence], rng: np.random.Generator, options: Options) -> Built:
    """Depth of the dependency tree, independent of length."""
    about = "Words on the longest path from the root of the dependency tree, punctuation not counted"
    return depth_task([(s, depth(tree)) for s, tree in parsed(sentences)], DEPTHS, about, rng, options)


def depth(tree: Dependencies) -> int:
    """Words on the longest path from the root, the root included, punctuation not counted."""
    return max((len(path(tree, word)) for word, tag in enumerate(tree.upos) if tag != "PUNCT"), default=1)


def ud_top_relations(sentences: Sequence[Sentence], rng: np.random.Generator, options: Options) -> Built:
    """The sequence of relations below the root."""
    pairs = parsed(sentences)
    labelled = [(s, sequence) for s, tree in pairs if (sequence := top_relations(tree)) is not None]
    definition = (
        "Clause-level relations of the root's dependents in order, with ROOT at its place, subtypes stripped: the most "
        "frequent and OTHER; sentences end in punctuation and have none among these dependents before."
    )
    return frequent_task(labelled, len(pairs), definition, rng, options)


def top_relations(tree: Dependencies) -> str | None:
    """The relations as in nsubj_ROOT_obj; None where punctuation stands inside or not at the end."""
    root = tree.root
    around = sorted([root, *tree.children(root)])
    if tree.upos[-1] != "PUNCT" or around[-1] != len(tree.heads) - 1:
        return None
    inside = around[:-1]
    if any(tree.upos[word] == "PUNCT" for word in inside):
        return None
    names = ["ROOT" if word == root else tree.relation(word) for word in inside]
    return "_".join(name for name in names if name == "ROOT" or name in CLAUSAL)


def finite_word(tree: Dependencies) -> int | None:
    """The one finite word among the root, its copulas and its passive auxiliaries, if indicative; None with another auxiliary."""
    root = tree.root
    helpers = [word for word in tree.children(root) if tree.relation(word) in ("aux", "cop")]
    if any(tree.relation(word) == "aux" and not tree.relations[word].startswith("aux:pass") for word in helpers):
        return None
    finite = [word for word in (root, *helpers) if tree.features[word].get("VerbForm") == "Fin"]
    return finite[0] if len(finite) == 1 and tree.features[finite[0]].get("Mood", "Ind") == "Ind" else None


def subject(tree: Dependencies) -> int | None:
    return only_noun(tree, "nsubj")


def direct_object(tree: Dependencies) -> int | None:
    return only_noun(tree, "obj") if tree.upos[tree.root] == "VERB" else None


def only_noun(tree: Dependencies, relation: str) -> int | None:
    """The one dependent of the root in this relation, if it is a common noun that is not coordinated."""
    words = [word for word in tree.children(tree.root) if tree.relation(word) == relation]
    if len(words) != 1 or tree.upos[words[0]] != "NOUN":
        return None
    return None if any(tree.relation(word) == "conj" for word in tree.children(words[0])) else words[0]


def feature_task(
    sentences: Sequence[Sentence],
    rng: np.random.Generator,
    options: Options,
    *,
    target: Callable[[Dependencies], int | None],
    feature: str,
    labels: dict[str, str],
    about: str,
) -> Built:
    """The label of one word by one of its features.

    Raises:
        LeftOut: the corpus does not mark the feature, or only one value of it (a language without tense).
    """
    labelled = []
    frequency: Counter[tuple[str, str]] = Counter()
    for sentence, tree in parsed(sentences):
        for form, features in zip(tree.forms, tree.features, strict=True):
            if value := labels.get(features.get(feature, "")):
                frequency[form.lower(), value] += 1
        word = target(tree)
        if word is not None and (value := labels.get(tree.features[word].get(feature, ""))):
            labelled.append((sentence, value, tree.forms[word].lower()))
    present = {label for _, label, _ in labelled}
    missing = [value for value, label in labels.items() if label not in present]
    lacking = " or ".join(f"{feature}={value}" for value in missing)
    if missing and {value for _, value in frequency} == set(labels.values()):
        raise LeftOut(f"too small: no such word carries {lacking}, though other words do; give a larger corpus")
    if missing:
        raise LeftOut(f"no such word carries {lacking}: this corpus, or its language, does not mark the contrast there")
    return form_task(labelled, frequency, about, rng, options)


ud_past_present = partial(
    feature_task,
    target=finite_word,
    feature="Tense",
    labels=TENSES,
    about="Tense of the main clause's finite word: the root, its copula or passive auxiliary, with no other auxiliary",
)
_number_task = partial(feature_task, feature="Number", labels=NUMBERS)
ud_subj_number = partial(_number_task, target=subject, about="Number of the root's subject noun")
ud_obj_number = partial(_number_task, target=direct_object, about="Number of the root's object noun")


def ud_odd_man_out(sentences: Sequence[Sentence], rng: np.random.Generator, options: Options) -> Built:
    """One noun or verb replaced (C) or not (O), by universal tag and features."""
    pairs = parsed(sentences)
    tags = []
    for sentence, tree in pairs:
        held = Counter(tree.token)
        row = [""] * len(sentence.tokens)
        for word, token in enumerate(tree.token):
            if held[token] == 1 and tree.upos[word] in ("NOUN", "VERB"):
                row[token] = "|".join([tree.upos[word], *(f"{k}={v}" for k, v in sorted(tree.features[word].items()))])
        tags.append(tuple(row))
    about = "One noun or verb replaced (C) by another form with the same universal tag and features"
    return replacement_task([s for s, _ in pairs], tags, about, rng, options)


def ud_coordination_inversion(sentences: Sequence[Sentence], rng: np.random.Generator, options: Options) -> Built:
    """Clauses of a top coordination inverted (I) or not (O), from dependencies."""
    pairs = parsed(sentences)
    inside = Counter(token for s, _ in pairs for token in s.tokens[1:])
    coordinations = [(s, c) for s, tree in pairs if (c := ud_coordination(s, tree, inside)) is not None]
    return inversion_task(coordinations, len(pairs), rng, options)


def ud_coordination(sentence: Sentence, tree: Dependencies, inside: Counter[str]) -> Coordination | None:
    """The coordination of root and conj by the only CCONJ, or None; `inside` counts tokens inside of sentences."""
    root, n = tree.root, len(tree.heads)
    conjuncts = [word for word in tree.children(root) if tree.relation(word) == "conj"]
    if len(conjuncts) != 1 or list(tree.upos).count("CCONJ") != 1 or len(set(tree.token)) != n:
        return None
    (second,) = conjuncts
    joint = tree.upos.index("CCONJ")
    for head in (root, second):
        if not any(tree.relation(word) in SUBJECTS for word in tree.children(head)):
            return None
    end = n - 1 if tree.upos[-1] == "PUNCT" else n
    start = joint - 1 if joint and tree.upos[joint - 1] == "PUNCT" else joint
    below = {word for word in range(n) if second in path(tree, word)}
    if tree.heads[joint] != second or root >= start or joint + 1 >= end:
        return None
    if not set(range(joint + 1, end)) <= below or below & set(range(start)):
        return None
    tokens = sentence.tokens
    clauses = []
    for a, b in ((0, start), (joint + 1, end)):
        word = tokens[a]
        upper, lower = word[:1].upper() + word[1:], word[:1].lower() + word[1:]
        usual = inside[upper] > inside[lower]
        clauses.append(Clause(tokens[a:b], keeps_case(word, tree.upos[a] == "PROPN" or usual)))
    return Coordination(clauses[0], tokens[start : joint + 1], clauses[1], tokens[end:])


def path(tree: Dependencies, word: int) -> list[int]:
    """The word, its head, the head of that, up to the root."""
    words = []
    while word >= 0:
        words.append(word)
        word = tree.heads[word]
    return words

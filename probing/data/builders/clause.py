"""The main clause of a constituency tree: its finite verb, the head of its subject and of its direct object.

The main clause is the one phrase under ROOT if it is S, SINV, SQ, or SBARQ with its SQ; a coordination of two clauses has
none. Its finite verb is the first verb or modal of its VP (of the first VP where VPs are coordinated), or of SQ
itself. The subject is the NP with the function SBJ, or, where a corpus marks no functions, the last NP before the VP.
The object is the one NP, or the last of two, that the last verb of the chain governs, if that verb is not a form of
be, become, seem, remain, or a passive. Heads of noun phrases: the last noun of the phrase, looking into the first NP
where it is made of phrases (Collins 1999, appendix A, reduced to what number needs); a coordination of NPs has no
single number and none.

Neither subject nor object: SBAR and infinitives, vocatives, NPs of time and manner (functions TMP, ADV, EXT, LOC, MNR, DIR,
VOC, PRD, LGS, and, where functions are not marked, a short list of nouns of time).
"""

from __future__ import annotations

from collections.abc import Container, Sequence

from probing.data.readers.parsed import Node

CLAUSES = {"S", "SINV", "SQ"}
VERBAL = {"VB", "VBD", "VBG", "VBN", "VBP", "VBZ", "MD"}
NOUNS = {"NN", "NNS", "NNP", "NNPS"}
COPULAS = set("be am is are was were been being 's 're 'm become becomes became seem seems seemed remain remains remained".split())
BE = {"be", "am", "is", "are", "was", "were", "been", "being", "'s", "'re", "'m", "get", "gets", "got"}
NO_OBJECT = {"TMP", "ADV", "EXT", "LOC", "MNR", "DIR", "VOC", "PRD", "LGS", "SBJ", "CLR"}
TIMES = set(
    "second minute hour day night week month year decade century time morning afternoon evening moment way "
    "monday tuesday wednesday thursday friday saturday sunday".split()
)


def of(node: Node, categories: Container[str]) -> list[Node]:
    """The children of these categories."""
    return [child for child in node.children if child.category in categories]


def main_clause(tree: Node) -> Node | None:
    """The clause under ROOT, or None where there is none or more than one."""
    phrases = [child for child in tree.children if child.word is None]
    if len(phrases) == 1 and phrases[0].category == "SBARQ":
        phrases = of(phrases[0], CLAUSES)
    return phrases[0] if len(phrases) == 1 and phrases[0].category in CLAUSES else None


def verb_phrase(clause: Node) -> Node | None:
    """The VP of a clause; in a coordination of VPs the first."""
    phrases = of(clause, ("VP",))
    return first_of_coordination(phrases[-1]) if phrases else None


def first_of_coordination(phrase: Node) -> Node:
    """Descend to the first VP while the phrase has VPs and no verb of its own."""
    while not of(phrase, VERBAL) and (inner := of(phrase, ("VP",))):
        phrase = inner[0]
    return phrase


def finite_verb(tree: Node) -> Node | None:
    """The tag node of the main clause's first verb or modal, whatever its tag."""
    clause = main_clause(tree)
    if clause is None:
        return None
    phrase = verb_phrase(clause)
    own = of(clause, VERBAL) if clause.category in ("SQ", "SINV") else []
    verbs = own or (of(phrase, VERBAL) if phrase else [])
    return verbs[0] if verbs else None


def subject_head(tree: Node) -> Node | None:
    """The tag node of the head noun of the main clause's subject."""
    clause = main_clause(tree)
    if clause is None:
        return None
    marked = [child for child in clause.children if "SBJ" in child.functions]
    if marked:
        subject = next((child for child in marked if child.category == "NP"), None)
        return noun_head(subject) if subject else None
    phrase = next((k for k, child in enumerate(clause.children) if child.category == "VP"), None)
    before = arguments(clause.children[:phrase])
    return noun_head(before[-1]) if phrase is not None and before else None


def object_head(tree: Node) -> Node | None:
    """The tag node of the head noun of the main clause's direct object."""
    clause = main_clause(tree)
    phrase = verb_phrase(clause) if clause else None
    if clause is None or phrase is None:
        return None
    verbs = of(clause, VERBAL) if clause.category in ("SQ", "SINV") else []
    while True:
        verbs += of(phrase, VERBAL)
        inner = of(phrase, ("VP",))
        if not inner or not of(phrase, VERBAL):
            break
        phrase = first_of_coordination(inner[0])
    if not verbs or (verbs[-1].word or "").lower() in COPULAS:
        return None
    if verbs[-1].category == "VBN" and len(verbs) > 1 and (verbs[-2].word or "").lower() in BE:
        return None
    after = phrase.children.index(verbs[-1]) + 1 if verbs[-1] in phrase.children else 0
    objects = arguments(phrase.children[after:])
    return noun_head(objects[-1]) if 1 <= len(objects) <= 2 else None


def arguments(nodes: Sequence[Node]) -> list[Node]:
    """The NPs among the nodes that can be a subject without a mark, or an object."""
    return [node for node in nodes if node.category == "NP" and not node.functions & NO_OBJECT and not is_time(node)]


def noun_head(phrase: Node) -> Node | None:
    """The last noun of a noun phrase; None for coordinations and for phrases without a noun of their own."""
    if of(phrase, ("CC", "CONJP")):
        return None
    words = [child for child in phrase.children if child.word is not None]
    if words and words[-1].label == "POS":
        return None
    if nouns := of(phrase, NOUNS):
        return nouns[-1]
    for child in of(phrase, ("NP", "NX")):
        if (head := noun_head(child)) is not None or child.category == "NX":
            return head
        if not (child.children and child.children[-1].label == "POS"):
            return None
    return None


def is_time(phrase: Node) -> bool:
    """Whether an NP is headed by a noun of time (for corpora that mark no NP-TMP)."""
    head = noun_head(phrase)
    word = (head.word or "").lower() if head else ""
    return word in TIMES or word.removesuffix("s") in TIMES

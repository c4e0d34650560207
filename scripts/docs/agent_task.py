"""Makes the task of the tutorials (docs/tutorials/data/agent.txt): does the animal act, or the person?

    python scripts/docs/agent_task.py docs/tutorials/data

Words and pairs of neighbouring words say nothing about the label: both nouns are followed by a place, half of the sentences are
passive, and each sentence has its mirror image, with the nouns exchanged, in the same split.
"""

from __future__ import annotations

import random
import sys
from itertools import product
from pathlib import Path

ANIMALS = "dog cat horse wolf fox bear".split()
PEOPLE = "man woman child teacher farmer nurse".split()
VERBS = "chased watched followed heard touched found".split()
PLACES = ["in the garden", "at the door", "by the river", "near the house", "on the hill", "under the tree"]
SIZES = {"tr": 160, "va": 40, "te": 100}  # pairs of a sentence and its mirror image


def rows() -> list[str]:
    draw = random.Random(0)
    chosen = draw.sample(list(product(ANIMALS, PEOPLE, VERBS, PLACES, PLACES)), sum(SIZES.values()))
    splits = [split for split, size in SIZES.items() for _ in range(size)]
    made = []
    for k, (split, (animal, person, verb, one, other)) in enumerate(zip(splits, chosen, strict=True)):
        did = f"was {verb} by" if k % 2 else verb
        for first, second in ((animal, person), (person, animal)):
            label = "animal" if (second if k % 2 else first) == animal else "person"
            made.append(f"{split}\t{label}\tthe {first} {one} {did} the {second} {other} .\n")
    return made


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "agent.txt").write_text("".join(rows()), encoding="utf-8")

"""Subject-verb agreement as a task of words: is the verb singular or plural? Items of Linzen et al. (2016) in the files of
facebookresearch/colorlessgreenRNNs (Gulordava et al. 2018).

    NAME.text   one sentence a line, tokens parted by blanks, <eos> at the end
    NAME.gold   for each: position of the verb (from 0), the verb, its other form, number of attractors; tabs between them

An attractor is a noun between subject and verb that has the other number. The files hold items whose intervening nouns are all
attractors. The verb would give its number away, so that it is hidden by default; what is read in its place is an option.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from probing.data.readers.files import find_file, read_bytes, read_text
from probing.data.task import Task
from probing.data.words import Columns, task_of_columns
from probing.errors import ConfigError, DataError

SHARES = (("train", 0.6), ("dev", 0.7), ("test", 1.0))
"""Splits, each with the share of the sentences at which it ends."""

READ = {
    "hidden": "a mask stands in place of the verb, and its vector is read",
    "seen": "the vector of the verb is read",
    "before": "the sentence ends before the verb, and the vector of its last word is read",
}


def number_of(verb: str, other: str) -> str | None:
    """Sing or Plur, of a verb in the present: of the two forms the singular one ends in s; where both do, it is the longer one.

    >>> number_of("is", "are"), number_of("include", "includes"), number_of("pass", "passes"), number_of("went", "go")
    ('Sing', 'Plur', 'Plur', None)
    """
    ends = [form.lower().endswith("s") for form in (verb, other)]
    if ends == [True, True] and len(verb) != len(other):
        return "Sing" if len(verb) > len(other) else "Plur"
    return None if ends[0] == ends[1] else "Sing" if ends[0] else "Plur"


@dataclass
class Agreement:
    """The task `agreement`, split at random into 60 % train, 10 % dev and 30 % test; a test score is also given by attractors.

    Args:
        root: the folder of the two files, plain, .gz or .xz.
        file: their NAME.
        verb: of `READ`.
        mask: the text in place of a hidden verb; the mask token of the encoder's tokenizer.
        split_seed: of the split.
        train_size: train on a stratified subset of about so many items, drawn with the run's seed; null: on all.
        name: name of the source in the names of runs.
    """

    root: str
    file: str = "subj_agr_filtered"
    verb: str = "hidden"
    mask: str = "[MASK]"
    split_seed: int = 0
    train_size: int | None = None
    name: str = "agreement"

    def tasks(self, names: Sequence[str] | None) -> list[Task]:
        """The task.

        Raises:
            ConfigError: another name, an unknown value of `verb`.
            DataError: no such files, or a line that is no item; file and line are named.
        """
        if names and list(names) != ["agreement"]:
            raise ConfigError(f"task={','.join(names)}: data=agreement holds one task, agreement")
        if self.verb not in READ:
            raise ConfigError(f"data.verb={self.verb!r} is unknown (allowed: {', '.join(READ)})")
        root = Path(self.root).expanduser()
        text, gold = (find_file(root, f"{self.file}.{ending}") for ending in ("text", "gold"))
        if text is None or gold is None:
            raise DataError(f"{root} must hold {self.file}.text and {self.file}.gold, plain, .gz or .xz (data.file=… names others)")
        sentences, answers = (read_text(path).rstrip("\n").split("\n") for path in (text, gold))
        if len(sentences) != len(answers):
            raise DataError(f"{text} has {len(sentences)} lines and {gold} {len(answers)}; line i of one is line i of the other")
        columns, left_out = {split: Columns(facts={"attractors": []}) for split, _ in SHARES}, 0
        drawn = np.random.default_rng(self.split_seed).permutation(len(sentences)) / len(sentences)
        split_of: dict[str, str] = {}  # items with the same words before the verb are of one split
        for i, (sentence, answer) in enumerate(zip(sentences, answers, strict=True)):
            words, fields = sentence.removesuffix("<eos>").split(), answer.split("\t")
            if len(fields) != 4 or not (fields[0] + fields[3]).isdigit() or int(fields[0]) >= len(words):
                raise DataError(
                    f"{gold}, line {i + 1}: {answer!r} must be the position of a word of {text}, the verb, its other form and the "
                    "number of attractors, with tabs between them"
                )
            at, number = int(fields[0]), number_of(fields[1], fields[2])
            if number is None or (at == 0 and self.verb == "before"):
                left_out += 1
                continue
            split = split_of.setdefault(" ".join(words[:at]), next(name for name, end in SHARES if drawn[i] < end))
            if self.verb == "before":
                words, at = words[:at], at - 1
            elif self.verb == "hidden":
                words[at] = self.mask
            columns[split].add(words, sentence, [((at, at + 1), number)])
            columns[split].facts["attractors"].append(int(fields[3]))
        left = f"{left_out} of {len(sentences)} items are left out: no clear number, or no word before the verb"
        notes = [f"{READ[self.verb]}; {left}"]
        card = {"name": "agreement", "about": "Is the verb singular or plural?", "by": "attractors"}
        digest = hashlib.sha256(read_bytes(text) + read_bytes(gold)).hexdigest()
        return [task_of_columns(columns, card, notes, str(text), groups_from="sentences", file_sha256=digest)]

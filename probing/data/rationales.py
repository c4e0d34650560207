"""Sources of tasks with gold words: which words decide the label, marked by people or by how the sentence was made.

Each gives one task of labels, and `gold(text)`: the marks of every annotator (`probing.data.readers.rationales.Marked`). Twins and
other sentences of one source stand in one split. A text with two labels has no answer and is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from probing.data.loading import load
from probing.data.readers.files import find_file
from probing.data.readers.rationales import (
    NEUTRAL,
    Marked,
    read_eraser,
    read_esnli,
    read_fair,
    read_geco,
    read_trees,
)
from probing.data.rows import held_out, task_of_rows
from probing.data.split import Split, groups_or_none
from probing.data.task import Task
from probing.errors import ConfigError, DataError
from probing.files import file_sha256
from probing.log import info

TEST_SHARE = 0.5
"""Of data without splits: gold sentences are few, and tests are what they are for."""


@dataclass
class Rationales:
    """What the sources below share.

    Args:
        root: the folder of the files (plain, .gz or .xz).
        dev_from_train: share of train that becomes dev where the data has no dev split, drawn stratified, groups whole.
        data_seed: of the draws of dev, and of test where the data has no splits.
        train_size: train on a stratified subset of about this size, drawn with the run's seed; null: on all.
        name: name of the source in the names of runs.
    """

    root: str
    dev_from_train: float = 0.1
    data_seed: int = 0
    train_size: int | None = None
    name: str = "rationales"

    def tasks(self, names: Sequence[str] | None) -> list[Task]:
        """The one task of the source.

        Raises:
            ConfigError: another name.
            DataError: a missing file, or a row that is not of its format.
        """
        if names not in (None, (), []) and list(names or ()) != [self.task_name]:
            raise ConfigError(f"task={','.join(names or ())}: data={self.name} has the task {self.task_name} alone")
        return [self._task]

    def gold(self, text: str) -> Marked:
        """The sentence with its marks; DataError for a text that is not in the data."""
        marked = self._by_text.get(" ".join(text.split()))
        if marked is None:
            raise DataError(f"{self.task_name} has no marked words for {text[:80]!r}")
        return marked

    @property
    def task_name(self) -> str:
        return self.name

    def _files(self) -> Mapping[str, Path]:
        """The files by split; a single one under "" where the data has no splits."""
        raise NotImplementedError

    def _read(self, path: Path) -> Sequence[Marked]:
        raise NotImplementedError

    def _find(self, **names: str) -> dict[str, Path]:
        """The files of these names by split; DataError for a missing one."""
        root = Path(self.root).expanduser()
        if not root.is_dir():
            raise DataError(f"no folder {root} (data.root must name the folder that holds {', '.join(names.values())})")
        files = {split: find_file(root, name) for split, name in names.items()}
        if absent := [names[split] for split, path in files.items() if path is None]:
            raise DataError(f"{root} holds no {', '.join(absent)} (nor .gz, .xz), which data={self.name} reads")
        return {split: path for split, path in files.items() if path is not None}

    @cached_property
    def _rows(self) -> dict[str, list[Marked]]:
        """The sentences by split, without those whose text has two labels."""
        files = self._files()
        rows = {split: list(self._read(path)) for split, path in files.items()}
        labels: dict[str, set[str]] = {}
        for one in (one for part in rows.values() for one in part):
            labels.setdefault(one.text, set()).add(one.label)
        if torn := {text for text, own in labels.items() if len(own) > 1}:
            info(f"{self.task_name}: texts with two labels are left out, {len(torn)}")
        rows = {split: [one for one in part if one.text not in torn] for split, part in rows.items()}
        if "" in rows:
            rows = self._drawn(rows[""])
        return rows

    def _drawn(self, rows: list[Marked]) -> dict[str, list[Marked]]:
        """Train and test of data without splits."""
        labels = np.unique([one.label for one in rows], return_inverse=True)[1].astype(np.int64)
        numbers = Split(tuple(map(str, range(len(rows)))), labels, groups_or_none(one.group for one in rows))
        parts = dict(zip(("train", "test"), held_out(numbers, TEST_SHARE, self.data_seed, self.task_name), strict=True))
        return {split: [rows[int(number)] for number in part.texts] for split, part in parts.items()}

    @cached_property
    def _by_text(self) -> dict[str, Marked]:
        return {one.text: one for part in self._rows.values() for one in part}

    @cached_property
    def _task(self) -> Task:
        rows, files = self._rows, self._files()
        task = task_of_rows(
            self.task_name,
            {split: ([one.text for one in part], [one.label for one in part]) for split, part in rows.items()},
            source=", ".join(path.name for path in files.values()),
            card={"group": "rationales"},
            groups={split: [one.group for one in part] for split, part in rows.items()},
            groups_from="sentences of one source",
            place=lambda split, i: rows[split][i].place,
            dev_from_train=None if "dev" in rows else self.dev_from_train,
            seed=self.data_seed,
            file_sha256=file_sha256(next(iter(files.values()))) if len(files) == 1 else "",
        )
        return task


@dataclass
class Geco(Rationales):
    """GECO: sentences in a male and a female version; the words that differ are gold (Wilming et al. 2024, arXiv 2406.11547).

    Args:
        variant: all (every gendered word differs), or subj (those of the subject alone).
    """

    name: str = "geco"
    variant: str = "all"

    def __post_init__(self) -> None:
        if self.variant not in ("all", "subj"):
            raise ConfigError(f"data.variant={self.variant!r} (allowed: all, subj)")

    @property
    def task_name(self) -> str:
        return f"geco_{self.variant}"

    def _files(self) -> dict[str, Path]:
        return self._find(**{split: f"binary_gender_{self.variant}_{split}.jsonl" for split in ("train", "test")})

    def _read(self, path: Path) -> list[Marked]:
        return list(read_geco(path))


@dataclass
class FairRationales(Rationales):
    """FairRationales: the words by which six annotators each decided (Thorn Jakobsen et al. 2023, ACL).

    The label is the corpus's own; `votes` of a row has the annotators'. Without `train` half of the sentences are test.

    Args:
        corpus: sst or dynasent.
        train: the folder of SST-2 (sentences): it gives train and dev, without the marked sentences (compared by letters and
            digits), all of which are test. The task is then sst2 with the classes 0 and 1, so that a head trained on it fits.
    """

    name: str = "rationales"
    corpus: str = "sst"
    train: str | None = None

    def __post_init__(self) -> None:
        if self.corpus not in ("sst", "dynasent"):
            raise ConfigError(f"data.corpus={self.corpus!r} (allowed: sst, dynasent)")

    @property
    def task_name(self) -> str:
        return f"rationales_{self.corpus}" if self.train is None else "sst2"

    def _files(self) -> dict[str, Path]:
        return self._find(**{"": f"{self.corpus}.jsonl"})

    def _read(self, path: Path) -> list[Marked]:
        return list(read_fair(path))

    def _drawn(self, rows: list[Marked]) -> dict[str, list[Marked]]:
        if self.train is None:
            return super()._drawn(rows)
        return {"test": [replace(one, label=str(int(one.label == "positive"))) for one in rows]}

    @cached_property
    def _task(self) -> Task:
        if self.train is None:
            return super()._task
        sst, rows = load("sst2", Path(self.train).expanduser()), self._rows["test"]
        marked = {_letters(one.text) for one in rows}
        kept = {
            name: [k for k, text in enumerate(split.texts) if _letters(text) not in marked] for name, split in sst.splits.items()
        }
        train, dev = sst.train.take(kept["train"]), sst.dev.take(kept["dev"])
        info(
            f"{self.corpus}: {len(rows)} marked sentences are test; {len(sst.train) - len(train)} of train and "
            f"{len(sst.dev) - len(dev)} of dev are among them and left out"
        )
        labels = np.array([sst.classes.index(one.label) for one in rows])
        test = Split(tuple(one.text for one in rows), labels, groups_or_none(one.group for one in rows))
        card = {**sst.card, "notes": [f"test: FairRationales, {self.corpus}; train and dev without its sentences"]}
        return replace(sst, train=train, dev=dev, test=test, card=card, source=f"{sst.source}, {self.corpus}.jsonl", git_blob="")


def _letters(text: str) -> str:
    """A text by its letters and digits, so that copies with other blanks, case and brackets are the same."""
    return "".join(filter(str.isalnum, text.lower().replace("-lrb-", "").replace("-rrb-", "")))


@dataclass
class ESnli(Rationales):
    """e-SNLI: pairs of sentences with the words that annotators marked (Camburu et al. 2018, NeurIPS); one in train, three else.

    Args:
        between: what stands between premise and hypothesis, a word that nobody marks.
    """

    name: str = "esnli"
    between: str = "[SEP]"

    def _files(self) -> dict[str, Path]:
        return self._find(train="esnli_train.csv", dev="esnli_dev.csv", test="esnli_test.csv")

    def _read(self, path: Path) -> list[Marked]:
        return list(read_esnli(path, self.between))


@dataclass
class Eraser(Rationales):
    """One data set of ERASER, such as movies (DeYoung et al. 2020, ACL): train.jsonl, val.jsonl, test.jsonl, and docs."""

    name: str = "eraser"

    def _files(self) -> dict[str, Path]:
        return self._find(train="train.jsonl", dev="val.jsonl", test="test.jsonl")

    def _read(self, path: Path) -> list[Marked]:
        return list(read_eraser(path))


@dataclass
class SstTrees(Rationales):
    """The phrases of SST with their labels (Socher et al. 2013, EMNLP); gold words are those of the sentence's own side.

    Args:
        classes: 2: sentences that are not neutral, "0" and "1" as in SST-2; 5: all, "0" to "4".
    """

    name: str = "sst_trees"
    classes: int = 2

    def __post_init__(self) -> None:
        if self.classes not in (2, 5):
            raise ConfigError(f"data.classes={self.classes} (allowed: 2, 5)")

    def _files(self) -> dict[str, Path]:
        return self._find(train="train.txt", dev="dev.txt", test="test.txt")

    def _read(self, path: Path) -> list[Marked]:
        rows = [replace(one, group=f"{path.name} {one.group}") for one in read_trees(path)]
        if self.classes == 5:
            return rows
        return [replace(one, label=str(int(int(one.label) > NEUTRAL))) for one in rows if int(one.label) != NEUTRAL]

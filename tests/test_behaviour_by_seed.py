"""Floors of networks that read subwords, and the report of language models over their training seeds."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from probing.behaviour.readers import PairFile
from probing.encoders.networks.checkpoint import CheckpointEncoder
from probing.encoders.networks.recurrent import LSTM
from probing.store.vectors import Store
from probing.studies import run
from probing.studies.texts import counted_text
from probing.training.language_model import LanguageModel
from probing.training.train import train

SCRIPT = Path(__file__).parents[1] / "scripts" / "results" / "behaviour_by_seed.py"
SMALL = {"epochs": 1, "warmup": 5, "batch_tokens": 400, "min_count": 1, "dev_share": 6}


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "a.txt"
    words = ["the", "dog", "cat", "sees", "see", "dogs", "cats", "old", "a"]
    lines = [" ".join(words[(i * j + j * j + i) % len(words)] for j in range(1, 4 + i % 5)) for i in range(90)]
    path.write_text("\n".join(dict.fromkeys(lines)) + "\n")
    return path


def trained(text, home, label, seed=0, **more):
    network = LSTM(embedding_dim=4, hidden=4, reads="forward", label=label)
    return train(network, LanguageModel(**SMALL, **more), text, home, seed=seed)


def test_a_network_of_subwords_has_the_words_of_its_text_as_floors(text, tmp_path):
    words = counted_text(str(text), CheckpointEncoder(str(trained(text, tmp_path, "w"))))
    subwords = counted_text(str(text), CheckpointEncoder(str(trained(text, tmp_path, "s", tokens="subwords"))))
    assert words.same and not subwords.same and "words of the training text" in subwords.about
    assert subwords.train == words.train and subwords.vocabulary.pieces([5]) == words.vocabulary.pieces([5])
    other = tmp_path / "b.txt"
    other.write_text("".join(f"another {word} text\n" for word in "abcdefghijklmnopqrstuvwxyz"))
    path = str(trained(text, tmp_path, "s", tokens="subwords"))
    assert "another text" in counted_text(str(other), CheckpointEncoder(path)).about


def test_seeds_are_averaged_with_their_interval_and_letters(text, tmp_path):
    rows = [f"the dog sees\tthe {wrong}" for wrong in ("dog see", "cat see", "dogs sees", "old see")] + ["a cats see\ta cats sees"]
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("\n".join(rows) + "\n")
    folders = []
    for label in ("one", "two"):
        for seed in (0, 1):
            path = str(trained(text, tmp_path, label, seed))
            study = {"_target_": "probing.studies.minimal_pairs.MinimalPairs", "text": str(text), "floors": ["unigram", "trigram"]}
            config = {
                "study": study, "task": "all", "seed": 0, "run": {"name": None},
                "data": {"_target_": "probing.behaviour.readers.PairFile", "root": str(pairs), "name": "pairs"},
                "encoder": {"_target_": "probing.encoders.networks.checkpoint.CheckpointEncoder", "path": path},
            }  # fmt: skip
            folders.append(run(config, tmp_path, Store(tmp_path / "store"), None, (0,)))
    command = [sys.executable, str(SCRIPT), str(tmp_path / "out"), *map(str, folders)]
    done = subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = pd.read_csv(tmp_path / "out" / "seeds.csv")
    own = lines[(lines.level == "all") & (lines.network == "one")].iloc[0]
    credit = [pd.read_csv(folder / "rows.csv").credit.mean() for folder in folders[:2]]
    assert own.accuracy == pytest.approx(sum(credit) / 2) and own.low <= own.accuracy <= own.high
    assert own.n == 5 and own.seeds == 2 and set(lines[lines.level == "all"].letters) == {"a"}, "five items tell nothing apart"
    trained_by = json.loads((tmp_path / "out" / "seeds-manifest.json").read_text())["training"]
    assert [(one["network"], one["seed"]) for one in trained_by] == [("one", 0), ("one", 1), ("two", 0), ("two", 1)]
    assert "## Training" in (tmp_path / "out" / "seeds.md").read_text()
    assert len(PairFile(str(pairs)).items) == 5
    done = subprocess.run(command[:-1], env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == 1 and "same training seeds" in done.stderr

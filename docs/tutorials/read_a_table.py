# %% [markdown]
# # Read a table like a reviewer
#
# The repository holds the table of MiniLM on eight tasks (`results/xprobe-en-minilm`). We read it as a reviewer would: claim by
# claim, with the numbers that support or weaken each.
# %%
from pathlib import Path

import numpy as np
import pandas as pd

from probing import ResultTable
from probing.paths import PUBLISHED

folder = PUBLISHED.parent / "xprobe-en-minilm"
best = pd.read_csv(folder / "table.csv")
columns = ["paper_name", "layer", "accuracy", "accuracy_low", "accuracy_high", "n_test", "floor", "beats_floors", "selectivity"]
print(best[columns].round(3).to_string(index=False))

# %% [markdown]
# **1. Is the number above what the text alone gives?** `beats_floors` is false for SentLen and WC. For SentLen the floor is
# `length`, which is the label itself: no encoder can be above it (newer tables mark such a floor with =, and compare with the
# others), and 87 % says only how much of the length a mean of states keeps. For WC a bag of words reaches 93 %, MiniLM 59 %:
# nothing that a reader could not get from the words.
# %%
below = best[~best.beats_floors.astype(bool)]
print(below[["paper_name", "accuracy", "floor"]].to_string(index=False))

# %% [markdown]
# **2. Does training matter?** The same architecture with random weights, five draws, each at its own dev-best layer:
# %%
gain = 100 * (best.accuracy - best.random)
points = {"task": best.paper_name, "above random weights (points)": gain, "sd of draws": 100 * best.random_sd}
print(pd.DataFrame(points).round(1).to_string(index=False))

# %% [markdown]
# **3. Did the probe learn the task, or could it learn anything?** Selectivity is accuracy less accuracy on a control task,
# where the label of a sentence is a random label of one of its words. TreeDepth: 41.7 % with a selectivity of −10.8 points. The
# control task has as many classes and is easier for the probe, because words are easy to read off. The number stands, but high
# accuracy alone is no sign of structure here.
#
# **4. Which layer?** The claim "layer 2 knows tense" is too strong if other layers cannot be told from it:
# %%
for row in best.itertuples():
    print(f"{row.paper_name}: layer {row.layer}; not separated: {row.not_separated}; could show {100 * row.can_show:.1f} points")

# %% [markdown]
# **5. Can I check an interval?** `rows.csv` holds every measurement. Wilson's interval for the best layer of Tense, by hand:
# %%
table = ResultTable.read_csv(folder / "rows.csv")
row = table.where(task="past_present", role="probe", encoder="minilm", layer=2, pooling="mean").iloc[0]
p, n, z = row.accuracy, row.n_test, 1.959964
centre, half = (p + z**2 / (2 * n)) / (1 + z**2 / n), z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
print(f"by hand {centre - half:.4f} to {centre + half:.4f}; in the file {row.accuracy_low:.4f} to {row.accuracy_high:.4f}")

# %% [markdown]
# The interval is over test sentences. What another train split would change is not in it; `resample=train` puts it in.
#
# **6. Is the data what it claims to be?** `official_data` is false for every row: these are not SentEval's files, so that no
# number here may stand beside a paper's without saying so.
# %%
print(table.frame.groupby("paper_name", sort=False)[["n_train", "n_test", "official_data"]].first().to_string())

# %% [markdown]
# The whole picture, from the same folder:
# %%
Path("xprobe.svg").write_text((folder / "figure-curves-mean-fast.svg").read_text(encoding="utf-8"), encoding="utf-8")

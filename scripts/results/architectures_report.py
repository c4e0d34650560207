"""The report of `compare_architectures.py` in Markdown: training, accuracies of networks, profiles over layers."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from probing.report.markdown import md_table


def training(checkpoints: Sequence, matched: str) -> str:
    lines = []
    for network in dict.fromkeys(one.network for one in checkpoints):
        own = [one for one in checkpoints if one.network == network]
        manifest = own[0].manifest
        line = {
            "network": network,
            "reads": manifest["architecture"]["reads"],
            "parameters without embeddings": f"{manifest['parameters']['without embeddings']:,}",
            "training sentences": f"{manifest['data']['n']['train']:,}",
            "training seeds": ", ".join(str(one.seed) for one in own),
            "epochs": ", ".join(map(str, sorted({one.manifest["epochs"] for one in own}))),
        }
        for split in ("dev", "test"):
            values = [one.manifest[split]["perplexity"] for one in own]
            line[f"{split} perplexity"] = f"{np.mean(values):.1f} ± {np.std(values, ddof=1):.1f}"
        lines.append(line)
    frame = pd.DataFrame([(one.network, one.manifest["dev"]["perplexity"]) for one in checkpoints], columns=["network", "dev"])
    means = frame.groupby("network").dev.mean()
    remark = "Perplexity: mean ± standard deviation over training seeds. The highest mean dev perplexity is "
    remark += f"{means.max() / means.min():.2f} times the lowest{', so fit differs with the network' * (matched == 'epochs')}."
    return f"{remark}\n\n{md_table(pd.DataFrame(lines))}"


def ranking(table: pd.DataFrame) -> list[str]:
    lines = []
    for row in table.itertuples():
        mark = "" if not row.floor or row.above_floor_low > 0 else " †"
        line = {"task": row.paper_name, "test sentences": f"{row.n_test:,}", "network": row.network}
        line["accuracy [95 %]"] = f"{100 * row.accuracy:.1f} [{100 * row.low:.1f}, {100 * row.high:.1f}]{mark}"
        line |= {"letters": row.letters, "sd over seeds": f"{100 * row.seed_sd:.1f}"}
        line["best text floor"] = f"{row.text_floor} {100 * row.text_floor_accuracy:.1f}" if row.text_floor else "–"
        for name, value in (("static", row.static), ("random weights", row.random)):
            line[name] = "–" if np.isnan(value) else f"{100 * value:.1f}"
        lines.append(line)
    return ["### Which network holds what", RANKING, md_table(pd.DataFrame(lines))]


def profile(layers: pd.DataFrame) -> list[str]:
    text = ["### Layer by layer", PROFILE]
    for network, own in layers.groupby("network", sort=False):
        poolings = list(dict.fromkeys(own.pooling))
        numbers, lines = sorted(own.layer.unique()), []
        for (task, pooling), rows in own.groupby(["task", "pooling"], sort=False):
            cells = {row.layer: f"{100 * row.accuracy:.1f} ± {100 * row.seed_sd:.1f} ({row.chosen})" for row in rows.itertuples()}
            line = {"task": task} | ({"pooling": pooling} if len(poolings) > 1 else {})
            lines.append(line | {f"layer {k}": cells.get(k, "") for k in numbers})
        text += [f"#### {network}", md_table(pd.DataFrame(lines))]
    return text


HEAD = """# Architectures compared

Language models of one text, each trained with several seeds, probed layer by layer. Two comparisons: after the same number of
epochs, and at nearly the same perplexity. Numbers are test accuracies in percent."""

RANKING = """Accuracy: mean over training seeds, each at its own dev-best layer, with a 95 % interval over training seeds and test
sentences. Networks of a task that share a letter are not separated (Welch's t test over training seeds, widened by the sentences;
Holm over all pairs and tasks of this table, 0.05). †: not above the highest of the three floors: the 95 % interval of the
difference on the same sentences reaches 0 or lies below it. Best text floor: the best of those that read the text alone. Static:
mean of the embedding layer. Random weights: the untrained network at its own dev-best layer."""

PROFILE = """Mean ± standard deviation over training seeds; in brackets for how many seeds dev chose the layer."""

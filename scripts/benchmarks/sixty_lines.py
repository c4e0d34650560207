"""A plain probing script: all layers and poolings by transformers, a scaler and scikit-learn for each value of C."""

import warnings

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from transformers import AutoModel, AutoTokenizer

GRID = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)


def pooled(states, mask):
    """cls, mean, max and last of one layer: states (batch, tokens, dim), mask (batch, tokens)."""
    seen = mask[..., None].to(states.dtype)
    last = mask.sum(1) - 1
    return {
        "cls": states[:, 0],
        "mean": (states * seen).sum(1) / seen.sum(1),
        "max": states.masked_fill(seen == 0, -torch.inf).amax(1),
        "last": states[torch.arange(len(states)), last],
    }


def tokenizer_and_model(folder):
    return AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder, dtype=torch.float32).eval()


def loop(tokenizer, model, texts):
    """{(layer, pooling): (n, dim)} by transformers alone."""
    parts = {}
    for start in range(0, len(texts), 32):
        batch = tokenizer(list(texts[start : start + 32]), padding=True, truncation=True, return_tensors="pt")
        with torch.no_grad():
            states = model(**batch, output_hidden_states=True).hidden_states
        for layer, state in enumerate(states):
            for pooling, vectors in pooled(state, batch["attention_mask"]).items():
                parts.setdefault((layer, pooling), []).append(vectors.numpy())
    return {column: np.concatenate(parts.pop(column)) for column in list(parts)}


def fit(task, features, column):
    scaler = StandardScaler().fit(features["train"][column])
    x = {split: scaler.transform(blocks[column]) for split, blocks in features.items()}
    scores = []
    for C in GRID:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = LogisticRegression(C=C, max_iter=1000).fit(x["train"], task.train.labels)
        scores.append((model.score(x["dev"], task.dev.labels), model.score(x["test"], task.test.labels), C))
    dev, test, C = max(scores, key=lambda score: score[0])
    return {"dev_accuracy": dev, "accuracy": test, "C": C}

"""A user's program that mypy checks and nothing runs: the exports have types, and the classes are what their protocols ask for."""

from __future__ import annotations

from pathlib import Path
from typing import Any, assert_type

import numpy as np

from probing import ResultTable, Store, evaluate, flash, load_encoder, load_probe, load_task
from probing.data.task import Task
from probing.encoders.base import Encoder
from probing.encoders.elmo.elmo import ELMoEncoder
from probing.encoders.elmo.textgenrnn import TextgenrnnEncoder
from probing.encoders.hf.embeddings import InputEmbeddings
from probing.encoders.hf.huggingface import HuggingFaceEncoder
from probing.encoders.networks.checkpoint import CheckpointEncoder
from probing.encoders.networks.recurrent import LSTM
from probing.encoders.static import StaticEncoder
from probing.encoders.user.python import PythonEncoder
from probing.encoders.vectors import VectorsEncoder
from probing.evaluation.adaptive import Flash
from probing.evaluation.measure import LayerMeasure, Measure
from probing.probes.base import ProbeProtocol, SplitFeatures
from probing.probes.path import LogisticPath
from probing.probes.senteval import SentEvalLogReg, SentEvalTorch


class Norm(LayerMeasure):
    name, version = "norm", 1

    def score(self, vectors: SplitFeatures, task: Task) -> dict[str, Any]:
        return {"norm": np.linalg.norm(vectors.test, axis=1)}


def program(root: Path) -> Flash:
    task = assert_type(load_task("bigram_shift", root), Task)
    encoder = assert_type(load_encoder("hf", name="bert-base-uncased"), Encoder)
    probe = assert_type(load_probe("fast", standardize=False), ProbeProtocol)
    table = evaluate([task], [encoder], store=Store(root / "store"), probe=probe)
    assert_type(table, ResultTable)
    assert_type(table.not_converged(), int)
    return flash([task], [encoder], store=root / "store", precision=1.0)


def encoders(path: str) -> list[Encoder]:
    return [
        HuggingFaceEncoder(path),
        InputEmbeddings(path),
        CheckpointEncoder(path),
        ELMoEncoder(path, path),
        TextgenrnnEncoder(path, path),
        LSTM(),
        PythonEncoder(path),
        StaticEncoder(path),
        VectorsEncoder(path),
    ]


def probes() -> list[ProbeProtocol]:
    return [LogisticPath(), SentEvalLogReg(), SentEvalTorch()]


def measures() -> list[Measure]:
    return [Norm()]

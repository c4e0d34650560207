"""The ways to make all layers × four poolings that `bench_extraction.py` compares, by name and precision."""

import importlib.util
import subprocess
import sys
import time
import types
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from precision import Int8
from sixty_lines import loop, tokenizer_and_model

from probing import load_encoder
from probing.encoders.hf.engines import PACKAGES
from probing.encoders.hf.huggingface import HuggingFaceEncoder
from probing.provenance import multiplies_bfloat16
from probing.store.extraction import extract
from probing.types import Representation

POOLINGS = ("cls", "mean", "max", "last")
INSTALLED = [engine for engine, package in PACKAGES.items() if importlib.util.find_spec(package)]


def encoder_of(model: str, **options) -> HuggingFaceEncoder:
    return HuggingFaceEncoder(model, **options) if Path(model).is_dir() else load_encoder(model, **options)


def ours(encoder, texts: list[str]) -> dict[Representation, np.ndarray]:
    return extract(encoder, encoder.tokenize(texts)[0], POOLINGS)


def packed(model: str, commit: str) -> HuggingFaceEncoder:
    """The encoder with the linear layers of an earlier commit, which called private operators of torch."""
    modules = []
    for name in ("onednn", "packed"):
        place = f"{commit}:probing/encoders/hf/{name}.py"
        source = subprocess.run(
            ["git", "show", place], capture_output=True, text=True, check=True, cwd=Path(__file__).parent
        ).stdout
        module = types.ModuleType(f"probing.encoders.hf.{name}")
        sys.modules[module.__name__] = module
        exec(compile(source, place, "exec"), module.__dict__)
        modules.append(module)
    encoder = encoder_of(model)
    modules[-1].pack(encoder.model)
    return encoder


def sentence_transformer(folder, texts: list[str]) -> Callable[[], dict[Representation, np.ndarray]] | None:
    """`encode` of the library over the mean pooling of the last layer; None without the library."""
    if not importlib.util.find_spec("sentence_transformers"):
        return None
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    reads = Transformer(str(folder))
    model = SentenceTransformer(modules=[reads, Pooling(reads.get_embedding_dimension(), "mean")], device="cpu")
    last = reads.auto_model.config.num_hidden_layers
    return lambda: {Representation(last, "mean"): model.encode(texts, batch_size=32, show_progress_bar=False)}


def variants(model: str, texts: list[str], commit: str | None) -> tuple[dict[tuple[str, str], Callable], dict[str, float]]:
    """Calls by variant and precision; and the processor seconds that an engine takes before its first vector, loading included."""
    first = encoder_of(model)
    tokenizer, plain = tokenizer_and_model(first.folder)
    made = {("torch", "float32"): first}
    made |= {(engine, "float32"): encoder_of(model, engine=engine) for engine in INSTALLED}
    if commit:
        made["torch with packed layers", "float32"] = packed(model, commit)
    if multiplies_bfloat16():
        made["torch", "bfloat16"] = encoder_of(model, autocast="bfloat16")
        if "openvino" in INSTALLED:
            made["openvino", "bfloat16"] = encoder_of(model, engine="openvino", autocast="bfloat16")
    if "onnx" in INSTALLED and importlib.util.find_spec("onnx"):
        made["onnx", "int8"] = Int8(first._source, revision=first.revision, package=first.package)
    calls: dict[tuple[str, str], Callable] = {("plain loop", "float32"): partial(loop, tokenizer, plain, texts)}
    if multiplies_bfloat16():
        calls["plain loop", "bfloat16"] = lambda: cast(tokenizer, plain, texts)
    if library := sentence_transformer(first.folder, texts):
        calls["sentence-transformers, last layer", "float32"] = library
    starts = {}
    for key, encoder in made.items():
        start = time.process_time()
        ours(encoder, texts[:1])
        starts[" ".join(key)] = time.process_time() - start
        calls[key] = partial(ours, encoder, texts)
    return calls, starts


def cast(tokenizer, model, texts: list[str]) -> dict[Representation, np.ndarray]:
    """The loop with products in bfloat16, pooled in float32."""
    run = model.forward
    with torch.autocast("cpu", torch.bfloat16):
        try:
            model.forward = lambda **given: _in_float32(run(**given))
            return loop(tokenizer, model, texts)
        finally:
            del model.forward


def _in_float32(output):
    output.hidden_states = tuple(state.float() for state in output.hidden_states)
    return output

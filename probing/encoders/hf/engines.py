"""Engines that run a model in place of torch: OpenVINO (Intel 2018-2026) and ONNX Runtime (Microsoft 2018-2026), on the CPU.

The pass of a BERT-like model and its poolings become one ONNX graph, which the engine compiles: token ids in, the vectors of every
layer and pooling out. The engine's name and version are part of the encoder's key. An engine pools sentences and does nothing else:
states of tokens (tasks of words, interactions, behaviour), interventions, gradients and the inspection are torch's in every case,
see `ByEngine.pooled`. A model that an engine does not run (`engine_of`) is run and keyed as torch.

No int8: its scale is that of the whole batch, so that a vector would depend on the other sentences (`results/precision`).
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from probing.encoders.base import Item, Pooled
from probing.encoders.hf.files import ModelFiles
from probing.encoders.hf.loading import transformers_quiet
from probing.encoders.hf.textmodel import TextModel
from probing.encoders.pooling import Pooler
from probing.errors import EncoderError, described, foreign
from probing.log import info
from probing.provenance import multiplies_bfloat16

PACKAGES = {"openvino": "openvino", "onnx": "onnxruntime"}
"""The package of each engine beside torch."""

FAMILIES = tuple(
    "albert bert bert-generation camembert data2vec-text distilbert electra ernie megatron-bert mpnet rembert roberta "
    "roberta-prelayernorm xlm-roberta xlm-roberta-xl".split()
)
"""The values of `model_type` whose graphs are tested against torch (`tests/test_engines.py`)."""


def engine_of(options: ModelFiles, device: str, family: str) -> str:
    """The engine that was asked for, or torch, with a line that says why, where it does not run the model.

    Raises:
        EncoderError: the engine's package is absent, or it has no products of `autocast`.
    """
    engine = options.engine
    try:
        version(PACKAGES[engine])
    except PackageNotFoundError:
        raise EncoderError(
            f"encoder.engine={engine} needs the extra: pip install 'probing-bench[{engine}]'; or take encoder.engine=torch"
        ) from None
    if engine == "onnx" and options.autocast:
        raise EncoderError(
            f"encoder.engine=onnx has float32 products alone on the CPU, not {options.autocast}: set encoder.autocast=null, or "
            "encoder.engine=openvino"
        )
    without = {"compile": False, "dtype": "float32", "quantization": None, "final_norm": False, "trust_remote_code": False}
    other = [f"encoder.{name}={getattr(options, name)}" for name, usual in without.items() if getattr(options, name) != usual]
    why = f"it does not go with {other[0]}" if other else "" if device == "cpu" else f"it does not run on {device}"
    if family not in FAMILIES:
        why = f"it does not convert a model of type {family} (it does: {', '.join(FAMILIES)})"
    if why:
        info(f"{options.name}: torch runs the model in place of {engine}: {why}")
    return "torch" if why else engine


def check_products(autocast: str | None, device: str) -> None:
    """EncoderError where the device has no products of this type, or is slower with them."""
    if autocast == "float16" and device == "cpu":
        raise EncoderError("encoder.autocast=float16 is for GPUs; on the CPU use bfloat16 or null")
    if autocast == "bfloat16" and device == "cpu" and not multiplies_bfloat16():
        raise EncoderError(
            "encoder.autocast=bfloat16, but this processor has no instructions for it (avx512_bf16 or amx_bf16), without which it "
            "is slower than float32; set encoder.autocast=null"
        )
    if autocast == "bfloat16" and device == "cuda" and not torch.cuda.is_bf16_supported():
        raise EncoderError("encoder.autocast=bfloat16, but this GPU has no bfloat16; use float16 or null")


def engine_key(engine: str) -> dict[str, Any]:
    """The part of an encoder's description that names the engine; empty for torch."""
    return {} if engine == "torch" else {"engine": {"name": engine, "version": version(PACKAGES[engine])}}


class Graph:
    """A model with its poolings, compiled by an engine; for each set of poolings a graph of its own, made at first use."""

    def __init__(self, text: TextModel, engine: str, samples: Sequence[Item]):
        self.text, self.engine, self.samples = text, engine, samples
        self.compiled: dict[tuple[str, ...], Run] = {}

    def pooled(self, items: Sequence[Item], poolings: Sequence[str]) -> Pooled:
        """As `TextModel.pooled`; raises EncoderError if the model does not convert, or gives other vectors than torch."""
        key = tuple(poolings)
        if key not in self.compiled:
            self.compiled[key] = self._compile(key)
        inputs, mask = self.text.inputs(items)
        counted = self.text.counted(inputs["input_ids"], mask)
        with foreign(f"{self.text.name}: running the model in {self.engine} on {len(items)} sentence(s)"):
            vectors = self.compiled[key](given(inputs, mask, counted))
        depth = len(vectors) // len(key)
        layers = {p: vectors[k * depth : (k + 1) * depth] for k, p in enumerate(key)}
        return Pooled(layers, counted.sum(1))

    def _compile(self, poolings: tuple[str, ...]) -> Run:
        text, samples = self.text, self.samples
        try:
            run = RUNS[self.engine](onnx_of(text, samples, poolings), text.autocast)
            self.compiled[poolings] = run
            ours, right = self.pooled(samples, poolings), text.pooled(samples, poolings)
        except Exception as error:  # exporters and engines raise many kinds
            raise EncoderError(
                f"{text.name}: {self.engine} does not run this model ({described(error)}); set encoder.engine=torch"
            ) from None
        finally:
            self.compiled.pop(poolings, None)
        for pooling, layers in right.vectors.items():
            for layer, (a, b) in enumerate(zip(ours.vectors[pooling], layers, strict=True)):
                if not (a - b).abs().max() <= text.tolerance * b.abs().max():
                    raise EncoderError(
                        f"{text.name}: {self.engine} gives other vectors than torch (layer {layer}, {pooling}: a difference of "
                        f"{float((a - b).abs().max()):.1e}); set encoder.engine=torch"
                    )
        return run


class ByEngine:
    """The poolings of an encoder of transformers, made by its engine."""

    @cached_property
    def _engine(self: Any) -> str:
        return "torch" if self.engine == "torch" else engine_of(self, self._device, self.config.model_type)

    @cached_property
    def _graph(self: Any) -> Graph:
        return Graph(self._text, self._engine, self._text.samples(self.inspection.longest))

    def pooled(self: Any, items: Sequence[Item], poolings: Sequence[str]) -> Pooled:
        """The poolings of `forward`, without the states of all layers in memory; the vectors are on the CPU. Torch makes them where
        it is the engine, and under a change of states or word vectors, from which gradients begin, too."""
        model = self._text if self._engine == "torch" or self.under_change else self._graph
        return self._batches.run(items, lambda some: model.pooled(some, poolings))


Run = Callable[[Mapping[str, torch.Tensor]], list[torch.Tensor]]
"""Inputs by name to the outputs, for each pooling one (batch, width) per layer."""


def given(inputs: Mapping[str, torch.Tensor], mask: torch.Tensor, counted: torch.Tensor) -> dict[str, torch.Tensor]:
    """The inputs of the graph: those of the model, its mask, the tokens that poolings read (batch, tokens), the last of them."""
    return {**inputs, "attention_mask": mask, "counted": counted.float(), "last": Pooler(counted).ends[2]}


def onnx_of(text: TextModel, samples: Sequence[Item], poolings: Sequence[str]) -> bytes:
    """The model and its poolings as an ONNX graph, traced on sentences of different lengths."""
    inputs, mask = text.inputs(samples)
    example = given(inputs, mask, text.counted(inputs["input_ids"], mask))
    module, file = _Pooling(text, tuple(example), poolings).eval(), io.BytesIO()
    axes = {name: {0: "batch"} if name == "last" else {0: "batch", 1: "tokens"} for name in example}
    with warnings.catch_warnings(), transformers_quiet(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter warns of itself, and of each branch that it takes
        torch.onnx.export(
            module,
            tuple(example.values()),
            file,
            input_names=list(example),
            output_names=[f"{p}.{layer}" for p in poolings for layer in range(len(text.layers.names))],
            dynamic_axes=axes,
            opset_version=18,
            dynamo=False,
        )
    return file.getvalue()


class _Pooling(torch.nn.Module):
    """The pass of a model and the poolings of its layers, in operators whose shapes may change."""

    def __init__(self, text: TextModel, names: tuple[str, ...], poolings: Sequence[str]):
        super().__init__()
        self.model, self.head = text.module, text.head
        self.names, self.poolings, self.depth = names, poolings, len(text.layers.names)

    def forward(self, *values: torch.Tensor) -> list[torch.Tensor]:
        inputs = dict(zip(self.names, values, strict=True))
        counted, last = inputs.pop("counted"), inputs.pop("last")
        states = self.model(**inputs, output_hidden_states=True).hidden_states
        if len(states) != self.depth:
            raise EncoderError(f"it hands out {len(states)} layers, {self.depth} were expected")
        return [self._pool(x, p, counted, last, inputs["attention_mask"]) for p in self.poolings for x in states]

    def _pool(self, x: torch.Tensor, pooling: str, counted: torch.Tensor, last: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, dim) to (batch, width)."""
        if pooling == "cls":
            return x[:, 0]
        if pooling == "mean":
            return (counted[:, None] @ x)[:, 0] / counted.sum(1, keepdim=True)
        if pooling == "max":
            return x.masked_fill(counted[..., None] == 0, -torch.inf).amax(1)
        if pooling == "last":
            return x.gather(1, last[:, None, None].expand(-1, 1, x.shape[2]))[:, 0]
        if self.head is None:
            raise EncoderError(f"the pooling {pooling} is not among those of a graph")
        return self.head(x, mask)


def _openvino(graph: bytes, autocast: str | None) -> Run:
    import openvino

    core = openvino.Core()
    how = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "NUM_STREAMS": 1}
    kind = {None: "f32", "bfloat16": "bf16"}[autocast]
    compiled = core.compile_model(core.read_model(graph), "CPU", {**how, "INFERENCE_PRECISION_HINT": kind})
    request, names = compiled.create_infer_request(), [port.any_name for port in compiled.inputs]  # those that some pooling reads

    def run(inputs: Mapping[str, torch.Tensor]) -> list[torch.Tensor]:
        outputs = request.infer({name: inputs[name].numpy() for name in names})
        return [torch.from_numpy(values) for values in outputs.to_tuple()]

    return run


def _onnx(graph: bytes, autocast: str | None) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    names = [port.name for port in session.get_inputs()]

    def run(inputs: Mapping[str, torch.Tensor]) -> list[torch.Tensor]:
        return [torch.from_numpy(values) for values in session.run(None, {name: inputs[name].numpy() for name in names})]

    return run


RUNS: dict[str, Callable[[bytes, str | None], Run]] = {"openvino": _openvino, "onnx": _onnx}
"""The function of each engine that compiles a graph."""

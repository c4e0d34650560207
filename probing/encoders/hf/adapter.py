"""PEFT adapters (LoRA, IA3 and others that change layers), and 8- and 4-bit weights: what is added while a model is loaded.

An adapter stays beside the base model's weights, as peft applies it; it is not merged. A random twin has no adapter and is not
quantised: it is the untrained architecture, to which an adapter that starts at zero adds nothing.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from probing.data.readers.files import read_json
from probing.errors import EncoderError, described, first_line

CONFIG, WEIGHTS = "adapter_config.json", ("adapter_model.safetensors", "adapter_model.bin")

_HEADS = {
    "CAUSAL_LM": "AutoModelForCausalLM",
    "SEQ_CLS": "AutoModelForSequenceClassification",
    "SEQ_2_SEQ_LM": "AutoModelForSeq2SeqLM",
    "TOKEN_CLS": "AutoModelForTokenClassification",
    "QUESTION_ANS": "AutoModelForQuestionAnswering",
}
"""The class on which an adapter of a task was trained; the names of its weights depend on it."""

QUANTIZATIONS = ("8bit", "4bit")


def find_adapter(name: str) -> Path:
    """The folder of an adapter, local or from the hub; raises EncoderError if it is none."""
    folder = Path(name).expanduser()
    if not folder.is_dir():
        if folder.is_absolute() or name.startswith((".", "~")):
            raise EncoderError(f"encoder.adapter={name!r}: no such folder")
        folder = _downloaded(name)
    files = [folder / CONFIG, *(folder / one for one in WEIGHTS if (folder / one).is_file())]
    if not files[0].is_file() or len(files) == 1:
        raise EncoderError(
            f"encoder.adapter={name!r} is no PEFT adapter: it lacks {CONFIG if not files[0].is_file() else WEIGHTS[0]} "
            "(peft's save_pretrained writes both)"
        )
    return folder


def adapter_files(folder: Path) -> list[Path]:
    """The files that decide what the adapter does; safetensors first, as peft reads them."""
    return [folder / CONFIG, next(folder / name for name in WEIGHTS if (folder / name).is_file())]


def _downloaded(name: str) -> Path:
    from huggingface_hub import snapshot_download

    for offline in (True, False):
        try:
            return Path(snapshot_download(name, allow_patterns=[CONFIG, *WEIGHTS], local_files_only=offline))
        except Exception as error:  # the hub client raises many kinds of exceptions
            why = f"{type(error).__name__}: {first_line(error)}"
    raise EncoderError(f"encoder.adapter={name!r} is neither a folder nor in the hub's cache, and could not be downloaded ({why})")


def trained_on(folder: Path) -> Iterator[Any]:
    """The class with a head on which the adapter was trained, if its config names one."""
    import transformers

    config = read_json(folder / CONFIG, str(folder / CONFIG), "fetch the adapter again")
    mapping = config.get("auto_mapping") or {}
    for name in (_HEADS.get(config.get("task_type") or "", ""), mapping.get("base_model_class") or ""):
        if hasattr(cls := getattr(transformers, name, None), "from_pretrained"):
            yield cls


def with_adapter(model: Any, folder: Path) -> Any:
    """The model with the adapter in its layers, or why it does not fit a model of this class."""
    try:
        from peft import PeftConfig, PeftModel
    except ImportError:
        raise EncoderError("encoder.adapter needs the extra: pip install 'probing-bench[peft]'") from None
    try:
        config = PeftConfig.from_pretrained(str(folder))
        if config.is_prompt_learning:
            kind = getattr(config.peft_type, "value", config.peft_type)
            raise EncoderError(
                f"encoder.adapter={folder}: a {kind} adapter puts vectors of its own before the sentence and changes no layer; "
                "adapters that change layers can be read (LORA, IA3, ADALORA, …)"
            )
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            adapted = PeftModel.from_pretrained(model, str(folder), config=config)
    except EncoderError:
        raise
    except Exception as error:
        return described(error)
    if any("missing adapter keys" in str(one.message) for one in caught):  # peft leaves them as they were drawn
        return "some of its weights have no place there"
    return adapted.get_base_model()


def quantized(bits: str, dtype: Any, device: str) -> Mapping[str, Any]:
    """What `from_pretrained` needs to load weights in 8 or 4 bits; raises EncoderError where that cannot work."""
    if device != "cuda" or importlib.util.find_spec("bitsandbytes") is None:
        raise EncoderError(
            f"encoder.quantization={bits} needs an NVIDIA GPU and bitsandbytes: set encoder.device=cuda, and "
            "pip install 'probing-bench[quantization]'; without them load the model whole (encoder.quantization=null)"
        )
    from transformers import BitsAndBytesConfig

    how = {"load_in_8bit": True} if bits == "8bit" else {"load_in_4bit": True, "bnb_4bit_compute_dtype": dtype}
    return {"quantization_config": BitsAndBytesConfig(**how), "device_map": {"": device}}

"""Models as people have them: PEFT adapters, chat templates, prompts, code of a folder's own, revisions, 8 bits."""

import json
import shutil

import numpy as np
import pytest
import torch
from toys import KNOWN, save_tiny

from probing import load_encoder
from probing.encoders.base import fingerprint, resolve_device
from probing.encoders.conformance import check
from probing.encoders.hf.adapter import quantized
from probing.errors import EncoderError
from probing.store.extraction import extract
from probing.types import Representation

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # peft's call, in tests

TEXTS = ["the cat runs .", "dogs", "the big dog sees the small cat because they run ."]


def vectors(encoder, texts=TEXTS):
    return extract(encoder, encoder.tokenize(texts)[0], encoder.poolings)


def states_of(model, ids):
    """The hidden states of one sentence by the library alone, each (tokens, dim)."""
    with torch.no_grad():
        return [h[0].numpy() for h in model.eval()(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states]


# PEFT adapters.


@pytest.fixture(scope="module")
def adapter(tiny, tmp_path_factory):
    """`adapter(kind, on, …)`: the folder of a LoRA adapter with random weights, trained on a class of transformers."""
    import transformers
    from peft import LoraConfig, get_peft_model

    def make(kind, on="AutoModel", **options):
        folder = tmp_path_factory.mktemp("adapter")
        with torch.random.fork_rng():
            torch.manual_seed(1)
            model = getattr(transformers, on).from_pretrained(tiny(kind), dtype=torch.float32)
            get_peft_model(model, LoraConfig(r=2, init_lora_weights=False, **options)).save_pretrained(folder)
        return folder

    return make


@pytest.mark.parametrize(
    ("kind", "on", "options"),
    [
        ("bert", "AutoModel", {}),
        ("llama", "AutoModel", {"target_modules": ["q_proj", "down_proj"]}),
        ("llama", "AutoModelForCausalLM", {"task_type": "CAUSAL_LM"}),
        ("bert", "AutoModelForSequenceClassification", {"task_type": "SEQ_CLS"}),
    ],
)
def test_an_adapted_model_equals_plain_peft(tiny, adapter, kind, on, options):
    import transformers
    from peft import PeftModel

    base, folder = tiny(kind), adapter(kind, on, **options)
    encoder, bare = load_encoder("hf", name=str(base), adapter=str(folder)), load_encoder("hf", name=str(base))
    assert encoder.name == f"tiny-{kind}[adapter={folder.name}]" and str(folder) in encoder.origin
    plain = PeftModel.from_pretrained(getattr(transformers, on).from_pretrained(base, dtype=torch.float32), folder)
    ours, untouched = vectors(encoder), vectors(bare)
    for i, (text, ids) in enumerate(zip(TEXTS, encoder.tokenize(TEXTS)[0], strict=True)):
        for layer, right in enumerate(states_of(plain, ids)):
            np.testing.assert_allclose(ours[Representation(layer, "mean")][i], right.mean(0), atol=2e-5, err_msg=text)
    assert np.abs(ours[Representation(2, "mean")] - untouched[Representation(2, "mean")]).max() > 1e-3
    assert encoder.layer_names == bare.layer_names


def test_the_files_of_an_adapter_are_in_the_key(tiny, adapter, tmp_path):
    base, folder = str(tiny("bert")), adapter("bert")
    marks = [fingerprint(load_encoder("hf", name=base)), fingerprint(load_encoder("hf", name=base, adapter=str(folder)))]
    shutil.copytree(folder, tmp_path / "same")
    (tmp_path / "same" / "README.md").write_text("no weight")
    assert fingerprint(load_encoder("hf", name=base, adapter=str(tmp_path / "same"))) == marks[1]
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copytree(folder, tmp_path / name)
        (tmp_path / name / name).write_bytes((folder / name).read_bytes() + b" ")
        marks.append(fingerprint(load_encoder("hf", name=base, adapter=str(tmp_path / name))))
    assert len(set(marks)) == 4


def test_the_random_twin_of_an_adapted_model_is_that_of_its_base(tiny, adapter):
    base = str(tiny("bert"))
    encoder = load_encoder("hf", name=base, adapter=str(adapter("bert")))
    assert fingerprint(encoder.random_twin(3)) == fingerprint(load_encoder("hf", name=base).random_twin(3))
    with pytest.raises(EncoderError, match="random_weights=true goes without encoder.adapter"):
        load_encoder("hf", name=base, adapter="x", random_weights=True)


def test_adapters_that_cannot_be_used_say_why(tiny, adapter, tmp_path):
    from peft import PromptTuningConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base = str(tiny("bert"))
    with pytest.raises(EncoderError, match=r"does not fit .*tiny-bert: it was trained on another .*; on a BertModel: "):
        _ = load_encoder("hf", name=base, adapter=str(adapter("llama", target_modules=["q_proj"]))).dims
    with pytest.raises(EncoderError, match="is no PEFT adapter: it lacks adapter_config.json"):
        _ = load_encoder("hf", name=base, adapter=str(tmp_path)).description
    with pytest.raises(EncoderError, match="no such folder"):
        _ = load_encoder("hf", name=base, adapter="./nowhere").description
    model = AutoModelForCausalLM.from_pretrained(tiny("llama"))
    get_peft_model(model, PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)).save_pretrained(tmp_path / "soft")
    with pytest.raises(EncoderError, match="PROMPT_TUNING adapter puts vectors of its own before the sentence"):
        _ = load_encoder("hf", name=str(tiny("llama")), adapter=str(tmp_path / "soft")).dims


# Chat templates and prompts.

TEMPLATE = (
    "{% for m in messages %}<|user|>\nsmall {{ m['content'] | trim }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|bot|>\n{% endif %}"
)


@pytest.fixture(scope="module")
def chatty(tmp_path_factory):
    """A folder of a tiny Llama with a chat template and its special tokens."""
    from transformers import AutoTokenizer

    marks = ["<|user|>", "<|end|>", "<|bot|>"]
    folder = save_tiny("llama", tmp_path_factory.mktemp("chat") / "chatty", words=[*KNOWN, *marks])
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": marks})
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("generation_prompt", [True, False])
def test_a_chat_model_equals_plain_transformers_at_the_chosen_token(chatty, generation_prompt):
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(chatty), AutoModel.from_pretrained(chatty)
    options = {"name": str(chatty), "chat": True, "generation_prompt": generation_prompt}
    whole, span = load_encoder("hf", **options), load_encoder("hf", **options, span="sentence")
    of_whole, of_span = vectors(whole), vectors(span)
    for i, text in enumerate(TEXTS):
        turn = [{"role": "user", "content": text}]
        ids = tokenizer.apply_chat_template(turn, add_generation_prompt=generation_prompt, return_dict=True)["input_ids"]
        words = slice(2, 2 + len(text.split()))  # after <|user|> and "small"
        assert len(ids) == words.stop + 1 + generation_prompt and whole.tokenize([text])[0] == [ids]
        for layer, right in enumerate(states_of(model, ids)):
            np.testing.assert_allclose(of_whole[Representation(layer, "last")][i], right[-1], atol=2e-5)
            np.testing.assert_allclose(of_whole[Representation(layer, "mean")][i], right.mean(0), atol=2e-5)
            np.testing.assert_allclose(of_span[Representation(layer, "last")][i], right[words][-1], atol=2e-5)
            np.testing.assert_allclose(of_span[Representation(layer, "max")][i], right[words].max(0), atol=2e-5)
    owners = whole.word_ids(["the  cat"])[0]
    assert owners == [None, None, 0, 1, None, *[None] * generation_prompt]


def test_chat_options_are_in_label_and_key(chatty, tmp_path):
    name = str(chatty)
    encoders = [
        load_encoder("hf", name=name),
        load_encoder("hf", name=name, chat=True),
        load_encoder("hf", name=name, chat=True, generation_prompt=False),
        load_encoder("hf", name=name, chat=True, span="sentence"),
        load_encoder("hf", name=name, prompt="small "),
        load_encoder("hf", name=name, prompt="small ", span="sentence"),
    ]
    assert len({e.name for e in encoders}) == len({fingerprint(e) for e in encoders}) == len(encoders)
    assert encoders[3].name == "chatty[chat=True,span=sentence]" and encoders[4].name == "chatty[prompt=small ]"
    other = tmp_path / "chatty"
    shutil.copytree(chatty, other)
    [file] = [path for path in other.iterdir() if "<|user|>\nsmall" in path.read_bytes().decode("utf-8", "ignore")]
    file.write_text(file.read_text().replace("small", "big"))
    assert fingerprint(load_encoder("hf", name=str(other), chat=True)) != fingerprint(encoders[1])
    assert check(lambda: load_encoder("hf", name=name, chat=True, span="sentence")).ok


def test_a_long_turn_loses_words_and_keeps_the_template(chatty):
    encoder = load_encoder("hf", name=str(chatty), chat=True, span="sentence")
    [short, long], cut = encoder.tokenize(["cat", "cat dog " * 40])
    assert (cut, len(long), encoder.limit) == (1, 24, 24) and long[:2] == short[:2] and long[-2:] == short[-2:]
    assert encoder.word_ids(["cat dog " * 40]) == [[None, None, *range(20), None, None]]
    assert encoder.forward([long, short]).mask.sum(1).tolist() == [20, 1]
    with pytest.raises(EncoderError, match="template takes 4 tokens of the 4 that it reads: no room for a word"):
        load_encoder("hf", name=str(chatty), chat=True, max_length=4).tokenize(["cat dog"])


def test_a_model_without_a_template_says_so_and_bad_options_are_named(tiny, chatty):
    with pytest.raises(EncoderError, match="chat=true, but the tokenizer of .* has no chat template .*set encoder.chat=false"):
        load_encoder("hf", name=str(tiny("llama")), chat=True).tokenize(["a"])
    for options, message in (
        ({"chat": True, "prompt": "x"}, "exclude each other"),
        ({"span": "sentence"}, "needs something around the sentence"),
        ({"span": "words"}, "allowed: all, sentence"),
        ({"quantization": "2bit"}, "allowed: null, 8bit, 4bit"),
    ):
        with pytest.raises(EncoderError, match=message):
            load_encoder("hf", name=str(chatty), **options)


def test_a_template_that_changes_the_sentence_is_refused(chatty, tmp_path):
    other = tmp_path / "loud"
    shutil.copytree(chatty, other)
    for path in other.iterdir():
        if path.suffix in (".json", ".jinja"):
            path.write_text(path.read_text().replace("| trim", "| upper"))
    with pytest.raises(EncoderError, match="chat template changes the sentence 'the cat'"):
        load_encoder("hf", name=str(other), chat=True).tokenize(["the cat"])


def test_a_prompt_is_read_and_its_tokens_belong_to_no_word(tiny):
    name = str(tiny("bert"))
    encoder, plain = load_encoder("hf", name=name, prompt="the big "), load_encoder("hf", name=name)
    texts = ["cat runs .", "dogs"]
    assert encoder.tokenize(texts) == plain.tokenize(["the big cat runs .", "the big dogs"])
    assert encoder.word_ids(texts) == [[None, None, None, 0, 1, 2, None], [None, None, None, 0, None]]
    span = load_encoder("hf", name=name, prompt="the big ", span="sentence")
    whole = plain.forward(plain.tokenize(["the big cat runs ."])[0]).layers[2][0, 3:6].mean(0).numpy()
    np.testing.assert_allclose(vectors(span, texts)[Representation(2, "mean")][0], whole, atol=1e-5)


# Code of a folder's own, revisions, quantisation, devices.

CODE = """
from transformers import BertConfig, BertModel

class OwnConfig(BertConfig):
    model_type = "tiny-own"

class OwnModel(BertModel):
    config_class = OwnConfig
"""


def test_code_of_a_folder_runs_only_where_it_is_trusted(tiny, tmp_path, monkeypatch):
    import transformers.dynamic_module_utils as dynamic

    monkeypatch.setattr(dynamic, "HF_MODULES_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(tmp_path / "cache")
    folder = tmp_path / "own"
    shutil.copytree(tiny("bert"), folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "tiny-own", "architectures": ["OwnModel"]}
    config |= {"auto_map": {"AutoConfig": "modeling_own.OwnConfig", "AutoModel": "modeling_own.OwnModel"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "modeling_own.py").write_text(CODE)
    with pytest.raises(EncoderError, match="needs Python code that lies in its own folder.*set encoder.trust_remote_code=true"):
        _ = load_encoder("hf", name=str(folder)).dims
    encoder = load_encoder("hf", name=str(folder), trust_remote_code=True)
    ours, right = vectors(encoder), vectors(load_encoder("hf", name=str(tiny("bert"))))
    assert all(np.array_equal(ours[column], right[column]) for column in right)
    assert encoder.random_twin(0).dims == (16, 16, 16)
    mark = fingerprint(encoder)
    (folder / "modeling_own.py").write_text(CODE + "\n# changed\n")
    assert fingerprint(load_encoder("hf", name=str(folder), trust_remote_code=True)) != mark


def test_revisions_of_a_hub_model_are_told_apart(tiny, tmp_path, monkeypatch):
    import huggingface_hub.constants as constants

    home = tmp_path / "models--org--tiny"
    for step, kind in (("step1000", "bert"), ("step2000", "gpt2")):
        shutil.copytree(tiny(kind), home / "snapshots" / (step[4] * 40))
        (home / "refs").mkdir(exist_ok=True)
        (home / "refs" / step).write_text(step[4] * 40)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    encoders = [load_encoder("hf", name="org/tiny", revision=step) for step in ("step1000", "step2000", "1" * 40)]
    assert [e.name for e in encoders] == ["tiny[revision=step1000]", "tiny[revision=step2000]", "tiny[revision=11111111]"]
    marks = [fingerprint(e) for e in encoders]
    assert marks[0] == marks[2] == fingerprint(load_encoder("hf", name=str(tiny("bert")))) != marks[1]
    assert load_encoder("hf", name="org/tiny", revision="step1000", label="own").name == "own"
    assert load_encoder("hf", name=str(tiny("bert")), revision="x").name == "tiny-bert", "a folder has no revisions"


def test_quantisation_goes_to_bitsandbytes_or_says_what_it_needs(tiny, monkeypatch):
    encoder = load_encoder("hf", name=str(tiny("bert")), quantization="8bit")
    assert encoder.name == "tiny-bert[quantization=8bit]" and encoder.description["quantization"] == "8bit"
    assert "quantization" not in encoder.random_twin(0).description
    with pytest.raises(EncoderError, match="quantization=8bit needs an NVIDIA GPU and bitsandbytes: set encoder.device=cuda"):
        _ = encoder.dims
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    how = quantized("8bit", torch.float16, "cuda")
    assert how["quantization_config"].load_in_8bit and how["device_map"] == {"": "cuda"}


def test_mps_is_allowed_where_torch_has_it(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(EncoderError, match="device=mps, but torch sees no Apple GPU"):
        resolve_device("mps")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert resolve_device("mps") == "mps"

"""Small random models of many `transformers` architectures, and their states by plain code: one sentence at a time, no padding.

Nothing of `probing` is used here. The blocks of each architecture are named by hand.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

TEXTS = ("Dogs bark", "The cat runs .", "It rains", "The old cat likes a very big city near the old sea now and today it rains .")
WORDS = "The cat runs . Dogs bark It rains boats trains near old sea she likes a very big city now today the and it".split()
LEARNED = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]

_SIZE = {
    "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48, "vocab_size": 64,
    "max_position_embeddings": 64,
}  # fmt: skip
_GROUPED = {"num_key_value_heads": 2}
_IDS = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
_T5 = {"vocab_size": 64, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 3, "num_heads": 4, "pad_token_id": 0}
_BART = {
    "vocab_size": 64, "d_model": 32, "encoder_layers": 3, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "max_position_embeddings": 64,
    "decoder_start_token_id": 2, **_IDS,
}  # fmt: skip
_GPT = {"vocab_size": 64, "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 64}
_XLM = {"vocab_size": 64, "emb_dim": 32, "n_layers": 3, "n_heads": 4, "max_position_embeddings": 64, "pad_index": 0}
_VISION = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 8,
    "patch_size": 4,
}
_OPT = {
    "vocab_size": 64,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "ffn_dim": 48,
    "max_position_embeddings": 64,
}
_MAMBA = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 3, "state_size": 8}
_MOE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}


def _sized(name: str, **more: Any) -> tuple[str, dict[str, Any]]:
    return name, {**_SIZE, **more}


def _without(values: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key != name}


CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": _sized("BertConfig"),
    "roberta": _sized("RobertaConfig", max_position_embeddings=66, pad_token_id=1),
    "camembert": _sized("CamembertConfig", max_position_embeddings=66, pad_token_id=1),
    "xlm-roberta": _sized("XLMRobertaConfig", max_position_embeddings=66, pad_token_id=1),
    "xlm-roberta-xl": _sized("XLMRobertaXLConfig", max_position_embeddings=66, pad_token_id=1),
    "distilbert": ("DistilBertConfig", {"vocab_size": 64, "dim": 32, "n_layers": 3, "n_heads": 4, "hidden_dim": 48,
        "max_position_embeddings": 64}),
    "albert": _sized("AlbertConfig", embedding_size=16),
    "albert-groups": _sized("AlbertConfig", embedding_size=16, num_hidden_groups=3),
    "electra": _sized("ElectraConfig", embedding_size=16),
    "mpnet": _sized("MPNetConfig", pad_token_id=0),
    "deberta": _sized("DebertaConfig", relative_attention=True, pos_att_type=["c2p", "p2c"], position_biased_input=False),
    "deberta-v2": _sized("DebertaV2Config", relative_attention=True, pos_att_type=["c2p", "p2c"]),
    "deberta-v2-conv": _sized("DebertaV2Config", relative_attention=True, pos_att_type=["c2p"], conv_kernel_size=3,
        conv_act="gelu"),
    "modernbert": _sized("ModernBertConfig", cls_token_id=2, sep_token_id=3, **_IDS),
    "modernbert-decoder": _sized("ModernBertDecoderConfig", cls_token_id=2, sep_token_id=3, **_IDS),
    "eurobert": _sized("EuroBertConfig", **_GROUPED, **_IDS),
    "nomic-bert": _sized("NomicBertConfig"),
    "jina-v3": _sized("JinaEmbeddingsV3Config"),
    "xlnet": ("XLNetConfig", {"vocab_size": 64, "d_model": 32, "n_layer": 3, "n_head": 4, "d_inner": 48}),
    "t5": ("T5Config", _T5),
    "mt5": ("MT5Config", _T5),
    "umt5": ("UMT5Config", _T5),
    "longt5-local": ("LongT5Config", {**_T5, "local_radius": 4}),
    "longt5-global": ("LongT5Config", {**_T5, "local_radius": 4, "encoder_attention_type": "transient-global",
        "global_block_size": 4}),
    "switch": ("SwitchTransformersConfig", {**_T5, "num_experts": 4, "num_sparse_encoder_layers": 2, "expert_capacity": 64}),
    "switch-full": ("SwitchTransformersConfig", {**_T5, "num_experts": 2, "num_sparse_encoder_layers": 2, "expert_capacity": 16}),
    "bart": ("BartConfig", _BART),
    "mbart": ("MBartConfig", _BART),
    "pegasus": ("PegasusConfig", _BART),
    "pegasus-x": ("PegasusXConfig", {**_BART, "block_size": 4, "num_global_tokens": 4}),
    "marian": ("MarianConfig", _BART),
    "m2m100": ("M2M100Config", _BART),
    "blenderbot": ("BlenderbotConfig", _BART),
    "blenderbot-small": ("BlenderbotSmallConfig", _BART),
    "prophetnet": ("ProphetNetConfig", {
        "vocab_size": 64, "hidden_size": 32, "encoder_ffn_dim": 48, "num_encoder_layers": 3, "num_encoder_attention_heads": 4,
        "decoder_ffn_dim": 48, "num_decoder_layers": 2, "num_decoder_attention_heads": 4, "max_position_embeddings": 64,
        "pad_token_id": 0}),
    "plbart": ("PLBartConfig", _BART),
    "mvp": ("MvpConfig", _BART),
    "fsmt": ("FSMTConfig", {**_without(_BART, "vocab_size"), "langs": ["en", "de"], "src_vocab_size": 64, "tgt_vocab_size": 64}),
    "bigbird-pegasus": ("BigBirdPegasusConfig", {**_BART, "block_size": 4, "num_random_blocks": 1}),
    "nllb-moe": ("NllbMoeConfig", {**_BART, "num_experts": 4, "encoder_sparse_step": 2, "expert_capacity": 8}),
    "led": ("LEDConfig", {
        **_without(_BART, "max_position_embeddings"), "max_encoder_position_embeddings": 64, "max_decoder_position_embeddings": 64,
        "attention_window": 4}),
    "gpt": ("OpenAIGPTConfig", _GPT),
    "gpt2": ("GPT2Config", {**_GPT, "bos_token_id": 2, "eos_token_id": 3}),
    "gpt-bigcode": ("GPTBigCodeConfig", {**_GPT, "bos_token_id": 2, "eos_token_id": 3}),
    "gpt-neo": ("GPTNeoConfig", {
        "vocab_size": 64, "hidden_size": 32, "num_layers": 3, "num_heads": 4, "max_position_embeddings": 64, "window_size": 4,
        "attention_types": [[["global", "local", "global"], 1]], "bos_token_id": 2, "eos_token_id": 3}),
    "gpt-neox": _sized("GPTNeoXConfig"),
    "gpt-neox-japanese": _sized("GPTNeoXJapaneseConfig"),
    "gptj": ("GPTJConfig", {**_GPT, "rotary_dim": 4, "bos_token_id": 2, "eos_token_id": 3}),
    "codegen": ("CodeGenConfig", {**_GPT, "n_ctx": 64, "rotary_dim": 4, "bos_token_id": 2, "eos_token_id": 3}),
    "ctrl": ("CTRLConfig", {**_GPT, "dff": 48}),
    "opt": ("OPTConfig", {**_OPT, "word_embed_proj_dim": 32}),
    "opt-350m": ("OPTConfig", {**_OPT, "word_embed_proj_dim": 16, "do_layer_norm_before": False}),
    "bloom": ("BloomConfig", {"vocab_size": 64, "hidden_size": 32, "n_layer": 3, "n_head": 4}),
    "falcon": _sized("FalconConfig"),
    "falcon-alibi": _sized("FalconConfig", alibi=True),
    "mpt": ("MptConfig", {"vocab_size": 64, "d_model": 32, "n_layers": 3, "n_heads": 4, "max_seq_len": 64}),
    "phi": _sized("PhiConfig"),
    "phi3": _sized("Phi3Config", **_GROUPED, **_IDS),
    "llama": _sized("LlamaConfig", **_GROUPED),
    "llama-bidirectional": _sized("LlamaConfig", is_causal=False, **_GROUPED),
    "llama-one-layer": ("LlamaConfig", {**_SIZE, **_GROUPED, "num_hidden_layers": 1}),
    "llama4-text": _sized("Llama4TextConfig", num_local_experts=2, num_experts_per_tok=1, intermediate_size_mlp=48, head_dim=8,
        **_GROUPED, **_IDS),
    "mistral": _sized("MistralConfig", sliding_window=4, **_GROUPED),
    "mixtral": _sized("MixtralConfig", num_local_experts=4, **_GROUPED),
    "gemma": _sized("GemmaConfig", head_dim=8, **_GROUPED),
    "gemma2": _sized("Gemma2Config", head_dim=8, sliding_window=4, **_GROUPED),
    "gemma3-text": _sized("Gemma3TextConfig", head_dim=8, sliding_window=4, **_GROUPED),
    "gemma3n-text": _sized(
        "Gemma3nTextConfig", head_dim=8, sliding_window=4, vocab_size_per_layer_input=64, hidden_size_per_layer_input=8,
        laurel_rank=4, num_kv_shared_layers=0, intermediate_size=[48] * 3, layer_types=["full_attention"] * 3,
        activation_sparsity_pattern=[0.0] * 3, altup_num_inputs=2, **_GROUPED),
    "gpt-oss": _sized("GptOssConfig", head_dim=8, num_local_experts=4, num_experts_per_tok=2, sliding_window=4, **_GROUPED, **_IDS),
    "qwen2": _sized("Qwen2Config", **_GROUPED),
    "qwen2-moe": _sized("Qwen2MoeConfig", shared_expert_intermediate_size=16, **_GROUPED, **_MOE),
    "qwen3": _sized("Qwen3Config", head_dim=8, **_GROUPED),
    "qwen3-moe": _sized("Qwen3MoeConfig", head_dim=8, **_GROUPED, **_MOE),
    "qwen3-next": _sized(
        "Qwen3NextConfig", head_dim=8, shared_expert_intermediate_size=16, linear_num_value_heads=4, linear_num_key_heads=2,
        linear_key_head_dim=8, linear_value_head_dim=8, layer_types=["linear_attention", "linear_attention", "full_attention"],
        **_GROUPED, **_MOE),
    "deepseek-v3": _sized(
        "DeepseekV3Config", num_key_value_heads=4, n_routed_experts=4, num_experts_per_tok=2, n_group=2, topk_group=1,
        moe_intermediate_size=16, q_lora_rank=8, kv_lora_rank=8, qk_rope_head_dim=4, qk_nope_head_dim=4, v_head_dim=8,
        first_k_dense_replace=1),
    "olmo": _sized("OlmoConfig", **_GROUPED, **_IDS),
    "olmo2": _sized("Olmo2Config", **_GROUPED, **_IDS),
    "olmoe": _sized("OlmoeConfig", num_experts=4, num_experts_per_tok=2, **_GROUPED, **_IDS),
    "granite": _sized("GraniteConfig", **_GROUPED),
    "stablelm": _sized("StableLmConfig", **_GROUPED),
    "starcoder2": _sized("Starcoder2Config", **_GROUPED),
    "cohere": _sized("CohereConfig", **_GROUPED, **_IDS),
    "jetmoe": _sized("JetMoeConfig", kv_channels=8, num_local_experts=4, num_experts_per_tok=2, **_GROUPED),
    "glm4": _sized("Glm4Config", head_dim=8, **_GROUPED, **_IDS),
    "smollm3": _sized("SmolLM3Config", **_GROUPED, **_IDS),
    "exaone4": _sized("Exaone4Config", **_GROUPED, **_IDS),
    "nemotron": _sized("NemotronConfig", **_GROUPED, **_IDS),
    "persimmon": _sized("PersimmonConfig"),
    "bitnet": _sized("BitNetConfig", **_GROUPED, **_IDS),
    "diffllama": _sized("DiffLlamaConfig", **_GROUPED, **_IDS),
    "doge": _sized("DogeConfig", **_GROUPED, **_IDS),
    "minimax": _sized("MiniMaxConfig", head_dim=8, num_local_experts=4, **_GROUPED),
    "apertus": _sized("ApertusConfig", **_GROUPED, **_IDS),
    "mamba": ("MambaConfig", _MAMBA),
    "mamba2": ("Mamba2Config", {**_MAMBA, "num_heads": 4, "head_dim": 16, "n_groups": 2}),
    "falcon-mamba": ("FalconMambaConfig", _MAMBA),
    "falcon-h1": _sized("FalconH1Config", head_dim=8, mamba_d_ssm=32, mamba_n_heads=4, mamba_d_head=8, mamba_n_groups=1,
        mamba_d_state=8, **_GROUPED),
    "bamba": _sized("BambaConfig", mamba_n_heads=4, mamba_d_head=16, mamba_d_state=8, attn_layer_indices=[1], **_GROUPED),
    "zamba2": _sized(
        "Zamba2Config", num_key_value_heads=4, mamba_d_state=8, mamba_ngroups=1, n_mamba_heads=4, mamba_headdim=16,
        layers_block_type=["mamba", "hybrid", "mamba"], num_mem_blocks=1, hybrid_layer_ids=[1]),
    "jamba": _sized(
        "JambaConfig", num_experts=2, attn_layer_period=2, attn_layer_offset=1, expert_layer_period=2, expert_layer_offset=1,
        mamba_d_state=8, use_mamba_kernels=False, **_GROUPED),
    "lfm2": _sized("Lfm2Config", layer_types=["conv", "full_attention", "conv"], **_GROUPED),
    "recurrent-gemma": ("RecurrentGemmaConfig", {
        "vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 96,
        "lru_width": 32, "attention_window_size": 8}),
    "rwkv": ("RwkvConfig", {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 3, "context_length": 64}),
    "rwkv-rescaled": ("RwkvConfig", {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 3, "context_length": 64,
        "rescale_every": 2}),
    "xlstm": ("xLSTMConfig", {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 3, "num_heads": 4}),
    "xglm": ("XGLMConfig", {"vocab_size": 64, "d_model": 32, "num_layers": 3, "attention_heads": 4, "ffn_dim": 48,
        "max_position_embeddings": 64, "pad_token_id": 1}),
    "biogpt": _sized("BioGptConfig"),
    "bigbird": _sized("BigBirdConfig", block_size=4, num_random_blocks=1),
    "xlm": ("XLMConfig", _XLM),
    "flaubert": ("FlaubertConfig", _XLM),
    "flaubert-pre-norm": ("FlaubertConfig", {**_XLM, "pre_norm": True}),
    "squeezebert": _sized("SqueezeBertConfig", embedding_size=32, q_groups=2, k_groups=2, v_groups=2, intermediate_groups=2,
        output_groups=2),
    "megatron-bert": _sized("MegatronBertConfig"),
    "roberta-prelayernorm": _sized("RobertaPreLayerNormConfig", pad_token_id=1),
    "roformer": _sized("RoFormerConfig"),
    "rembert": _sized("RemBertConfig", input_embedding_size=16, output_embedding_size=16),
    "ibert": _sized("IBertConfig", pad_token_id=1),
    "data2vec-text": _sized("Data2VecTextConfig", pad_token_id=1),
    "xmod": _sized("XmodConfig", pad_token_id=1, languages=["en_XX"], default_language="en_XX"),
    "xmod-pre-norm": _sized("XmodConfig", pad_token_id=1, languages=["en_XX"], default_language="en_XX", pre_norm=True),
    "ernie": _sized("ErnieConfig"),
    "mra": _sized("MraConfig"),
    "luke": _sized("LukeConfig", entity_vocab_size=8, entity_emb_size=16, pad_token_id=1),
    "layoutlm": _sized("LayoutLMConfig"),
    "markuplm": _sized("MarkupLMConfig"),
    "lilt": _sized("LiltConfig"),
    "bros": _sized("BrosConfig"),
    "splinter": _sized("SplinterConfig"),
    "esm": _sized("EsmConfig", pad_token_id=1, position_embedding_type="absolute"),
    "nystromformer": _sized("NystromformerConfig", num_landmarks=8, segment_means_seq_len=8, conv_kernel_size=3),
    "yoso": _sized("YosoConfig"),
    "mobilebert": _sized("MobileBertConfig", embedding_size=16, intra_bottleneck_size=16, true_hidden_size=16),
    "convbert": _sized("ConvBertConfig", embedding_size=32, conv_kernel_size=3, head_ratio=2),
    "fnet": _sized("FNetConfig"),
    "longformer": _sized("LongformerConfig", attention_window=4, pad_token_id=0),
    "canine": _sized("CanineConfig", num_hash_buckets=16, num_hash_functions=4, local_transformer_stride=4, downsampling_rate=4),
    "reformer": ("ReformerConfig", {
        "vocab_size": 64, "hidden_size": 32, "num_attention_heads": 4, "attention_head_size": 8, "feed_forward_size": 48,
        "attn_layers": ["local"] * 3, "local_attn_chunk_length": 4, "axial_pos_shape": [8, 8], "axial_pos_embds_dim": [16, 16],
        "max_position_embeddings": 64, "is_decoder": False}),
    "perceiver": ("PerceiverConfig", {"vocab_size": 64, "num_latents": 8, "d_latents": 32, "d_model": 32, "num_blocks": 1,
        "max_position_embeddings": 64}),
    "dpr": _sized("DPRConfig"),
    "bert-generation": _sized("BertGenerationConfig"),
    "clip-text": _sized("CLIPTextConfig", eos_token_id=3),
    "clip": ("CLIPConfig", {"text_config": {**_SIZE, "eos_token_id": 3}, "vision_config": _VISION}),
    "siglip": ("SiglipConfig", {"text_config": {**_SIZE, "projection_size": 32}, "vision_config": _VISION}),
    "t5gemma": ("T5GemmaConfig", {
        "encoder": {**_SIZE, **_GROUPED, "head_dim": 8}, "decoder": {**_SIZE, **_GROUPED, "head_dim": 8}, "vocab_size": 64}),
}  # fmt: skip

_FUNNEL = {
    "vocab_size": 64, "block_sizes": [1, 1, 1], "block_repeats": [1, 1, 1], "num_decoder_layers": 2, "d_model": 32, "n_head": 4,
    "d_head": 8, "d_inner": 48,
}  # fmt: skip

OWN_CLASS: dict[str, tuple[str, Callable[[], Any]]] = {
    "t5-encoder": ("T5EncoderModel", lambda: transformers.T5Config(**_T5)),
    "t5-encoder-flag": ("T5EncoderModel", lambda: transformers.T5Config(**_T5, is_encoder_decoder=False)),
    "mt5-encoder": ("MT5EncoderModel", lambda: transformers.MT5Config(**_T5)),
    "umt5-encoder": ("UMT5EncoderModel", lambda: transformers.UMT5Config(**_T5)),
    "longt5-encoder": ("LongT5EncoderModel", lambda: transformers.LongT5Config(**_T5, local_radius=4)),
    "switch-encoder": (
        "SwitchTransformersEncoderModel",
        lambda: transformers.SwitchTransformersConfig(**_T5, num_experts=4, num_sparse_encoder_layers=2, expert_capacity=64),
    ),
    "bart-encoder": ("models.bart.modeling_bart.BartEncoder", lambda: transformers.BartConfig(**_BART)),
    "mbart-encoder": ("models.mbart.modeling_mbart.MBartEncoder", lambda: transformers.MBartConfig(**_BART)),
    "funnel": ("FunnelModel", lambda: transformers.FunnelConfig(**_FUNNEL)),
    "funnel-base": ("FunnelBaseModel", lambda: transformers.FunnelConfig(**_FUNNEL)),
    "bert-masked-lm": ("BertForMaskedLM", lambda: transformers.BertConfig(**_SIZE)),
    "llama-causal-lm": ("LlamaForCausalLM", lambda: transformers.LlamaConfig(**_SIZE, **_GROUPED)),
    "siglip-text": ("SiglipTextModel", lambda: transformers.SiglipTextConfig(**_SIZE, projection_size=32)),
    "dpr-context": ("DPRContextEncoder", lambda: transformers.DPRConfig(**_SIZE)),
    "encoder-decoder": (
        "EncoderDecoderModel",
        lambda: transformers.EncoderDecoderConfig.from_encoder_decoder_configs(
            transformers.BertConfig(**_SIZE), transformers.BertConfig(**_SIZE, is_decoder=True, add_cross_attention=True)
        ),
    ),
}
"""Saved by a class that is not the base class of its family."""

ARCHITECTURES = (*CONFIGS, *OWN_CLASS)

_BLOCKS = {
    "xlm": "layer_norm2", "flaubert": "layer_norm2", "albert": "encoder.albert_layer_groups", "squeezebert": None,
    "deberta-v2-conv": None, "rwkv-rescaled": None,
}  # fmt: skip
_USUAL = (
    "encoder.layer", "encoder.layers", "encoder.block", "encoder.albert_layer_groups", "decoder.layers", "transformer.layer",
        "layers",
    "layer", "block", "blocks", "h",
)  # fmt: skip


def tokenizer(wrap: str = "[CLS] $A [SEP]", words: list[str] = LEARNED, **more: Any) -> Any:
    """A tokenizer of whole words."""
    tokens = Tokenizer(models.WordLevel({word: k for k, word in enumerate(words)}, unk_token="[UNK]"))
    tokens.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokens.post_processor = processors.TemplateProcessing(wrap, special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokens, **names | more)


def build(name: str) -> Any:
    """The model, its weights larger than usual, so that mistakes show."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        if name in CONFIGS:
            cls, values = CONFIGS[name]
            model = transformers.AutoModel.from_config(getattr(transformers, cls)(**values))
        else:
            cls, config = OWN_CLASS[name]
            owner = transformers
            *path, last = cls.split(".")
            for part in path:
                owner = getattr(owner, part)
            model = getattr(owner, last)(config())
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() > 1:
                    parameter.copy_(0.2 * torch.randn_like(parameter))
                else:
                    parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def save(model: Any, folder: Path, tokens: Any = None) -> Path:
    model.save_pretrained(folder)
    (tokens or tokenizer()).save_pretrained(folder)
    return folder


def reader(model: Any) -> Any:
    """The part of the model that reads text, by hand."""
    for part in ("text_model", "encoder", "model", "bert"):
        inner = getattr(model, part, None)
        takes_text = inner is not None and "input_ids" in inspect.signature(inner.forward).parameters
        if takes_text and type(model).__name__ not in ("ReformerModel", "DPRQuestionEncoder"):
            return inner
    return model


def plain_states(model: Any, tokens: Any, texts: tuple[str, ...] = TEXTS) -> list[list[np.ndarray]]:
    """For each text the states (tokens, dim) that the model hands out for it alone."""
    part, rows = reader(model), []
    takes = inspect.signature(part.forward).parameters
    for text in texts:
        given = {name: value for name, value in tokens(text, return_tensors="pt").items() if name in (*takes, "attention_mask")}
        with torch.no_grad():
            more = {"use_cache": False} if "use_cache" in takes else {}
            states = part(**given, output_hidden_states=True, **more).hidden_states
        rows.append([state[0, : given["input_ids"].shape[1]].numpy() for state in states])
    return rows


def block_states(name: str, model: Any, tokens: Any, text: str) -> tuple[np.ndarray | None, list[np.ndarray]] | None:
    """What block 1 takes, and what each block gives, (tokens, dim) each, for one text; None where blocks are no modules.

    The last part of a block of XLM is a module, the whole is not: what it takes is None.
    """
    part = reader(model)
    if _BLOCKS.get(name, "") is None:
        return None
    modules = dict(part.named_modules())
    if name.startswith("dpr"):
        modules = dict(next(iter(part.children())).bert_model.named_modules())
    path = _BLOCKS.get(name) or next(path for path in _USUAL if path in modules)
    taken: list[torch.Tensor] = []
    given: list[torch.Tensor] = []

    def hook(module: Any, args: tuple, kwargs: dict, out: Any) -> None:
        taken.append(args[0] if args else kwargs["hidden_states"])
        given.append(out[0] if isinstance(out, tuple | list) else out)

    handles = [block.register_forward_hook(hook, with_kwargs=True) for block in modules[path]]
    n = len(tokens(text)["input_ids"])
    plain_states(model, tokens, (text,))
    for handle in handles:
        handle.remove()

    def state(tensor: torch.Tensor) -> np.ndarray:
        return (tensor[:, 0] if tensor.shape[1] == 1 and tensor.shape[0] > 1 else tensor[0])[:n].detach().numpy()

    return None if path == "layer_norm2" else state(taken[0]), [state(tensor) for tensor in given]

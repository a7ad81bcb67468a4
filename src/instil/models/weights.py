"""The weights of a model folder: which architecture they are, and a model that holds them all.

    config.json  "architectures": ["T5ForConditionalGeneration"], "is_encoder_decoder": true   ->  seq2seq
                 "architectures": ["BertForMaskedLM"]                                          ->  masked
                 "architectures": ["LlamaForCausalLM"]                                         ->  causal

Weights come from safetensors alone: pickle files can run code, and so can `trust_remote_code`; neither is ever used.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    PreTrainedModel,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
)

from instil.errors import ModelError
from instil.models.fused import use_fused
from instil.models.linear import use_onednn
from instil.records import Architecture

Dtype = Literal["auto", "float32", "bfloat16"]

_LOADERS: Mapping[Architecture, Any] = {
    "causal": AutoModelForCausalLM,
    "seq2seq": AutoModelForSeq2SeqLM,
    "masked": AutoModelForMaskedLM,
}
_MASKED = ("ForMaskedLM", "ForPreTraining", "WithLMHeadModel", "Model")
_CAUSAL = ("ForCausalLM", "LMHeadModel", "Model")
"""Ends of the class names that may be loaded; whether a folder has the output layer too shows when it is read."""
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_FOREVER = 10**9
"""A tokenizer that knows no limit says 1e30."""
_RELATIVE = 1024
"""A model with relative positions has no last one; FLAN was tuned on so many tokens."""


def config_of(folder: Path) -> Any:
    """The configuration in a folder.

    Raises:
        ModelError: if there is none, or it is that of no model that transformers knows without code of the folder.
    """
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} has no config.json", remedy="Give a model folder, or a run that has finished")
    try:
        raw = json.loads((folder / "config.json").read_text("utf-8"))
    except ValueError as error:
        raise ModelError(f"{folder / 'config.json'} is not JSON ({error})", remedy="Copy the folder again") from None
    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # a damaged configuration can raise anything
        kind = raw.get("model_type") if isinstance(raw, dict) else None
        if isinstance(raw, dict) and raw.get("auto_map"):
            raise ModelError(
                f"{folder} needs code of its own ({kind}), and code from a model folder is never run",
                remedy="Choose a model that transformers supports itself",
            ) from error
        raise ModelError(
            f"{folder / 'config.json'} describes no model that transformers knows (model_type {kind!r})",
            remedy="Check it, or install a newer transformers",
        ) from error


def architecture_of(folder: Path, config: Any) -> Architecture:
    """Which of the three a model is.

    Raises:
        ModelError: if it is none of them, such as a classifier or a vision model.
    """
    kind, named = config.model_type, getattr(config, "architectures", None) or [""]
    name = str(named[0])
    if getattr(config, "is_encoder_decoder", False):
        if kind in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES:
            return "seq2seq"
    elif kind in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not getattr(config, "is_decoder", False):
        if name == "" or name.endswith(_MASKED):
            return "masked"
    elif kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and (name == "" or name.endswith(_CAUSAL)):
        return "causal"
    raise ModelError(
        f"{folder} holds a {name or kind}, which neither continues text, nor answers it, nor fills in masks",
        remedy="Give a causal model (Llama, Qwen, Gemma, GPT-2), an encoder-decoder (T5, BART) or a masked one "
        "(BERT, RoBERTa, ModernBERT)",
    )


def check_weights(folder: Path) -> None:
    """See that a folder has its weights as safetensors.

    Raises:
        ModelError: if it has none, or a pickle in their place.
    """
    if any(folder.glob("*.safetensors")):
        return
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix in _PICKLES)
    if pickles:
        raise ModelError(
            f"{folder} has its weights as {pickles[0]}, a pickle, which can run any code when it is read",
            remedy="Convert it in a place that you trust with `save_pretrained(..., safe_serialization=True)`",
        )
    raise ModelError(f"{folder} has no weights (*.safetensors)", remedy="Copy or download the whole model folder")


def read_model(
    folder: Path, config: Any, architecture: Architecture, device: torch.device, dtype: Dtype
) -> PreTrainedModel:
    """The model with its weights, every one of them read from the folder.

    Raises:
        ModelError: if a file is torn, or a weight is absent.
    """
    kind: Any = dtype if dtype != "auto" else "float32" if device.type == "cpu" else "auto"
    try:
        model, info = _LOADERS[architecture].from_pretrained(
            folder, config=config, dtype=kind, use_safetensors=True, trust_remote_code=False, output_loading_info=True
        )
    except Exception as error:  # a torn file, a missing shard, a wrong size: each raises its own kind
        raise ModelError(
            f"the weights in {folder} cannot be read ({reason(error)})", remedy="Copy or download the folder again"
        ) from error
    absent = sorted(str(key) for key in info["missing_keys"])
    if absent:
        raise ModelError(
            f"the weights in {folder} lack {absent[0]}" + (f" and {len(absent) - 1} more" if len(absent) > 1 else ""),
            remedy="It would start at random; copy or download the whole folder again",
        )
    head = model.get_output_embeddings()
    if head is not None and head.weight is not model.get_input_embeddings().weight:
        # transformers 5 calls every T5 tied, keeps the two apart that a folder has apart, and ties them when it resizes
        model.config.tie_word_embeddings = False
    model = model.to(device).eval()
    use_fused(model)
    if device.type == "cpu":
        use_onednn(model)
    loaded: PreTrainedModel = model
    return loaded


def empty_model(folder: Path) -> PreTrainedModel:
    """The model that a folder describes, without its weights: what `torch.device("meta")` makes in no time and memory.

    Raises:
        ModelError: as `config_of` and `architecture_of`.
    """
    config = config_of(folder)
    model: PreTrainedModel = _LOADERS[architecture_of(folder, config)].from_config(config)
    return model


def longest(model: PreTrainedModel, tokenizer_limit: int) -> int:
    """The longest sequence, in tokens, that a model can read.

    RoBERTa counts its positions from behind the padding id, so that the first rows of their table are never used.
    """
    text = model.config.get_text_config()
    if getattr(text, "relative_attention_num_buckets", None) and not hasattr(text, "max_position_embeddings"):
        return max(_RELATIVE, getattr(text, "n_positions", 0) or 0)
    limits = [getattr(text, name, None) for name in ("max_position_embeddings", "n_positions", "max_seq_len")]
    for name, layer in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(layer, nn.Embedding) and layer.padding_idx is not None:
            limits.append(layer.num_embeddings - layer.padding_idx - 1)
    known = [int(limit) for limit in (*limits, tokenizer_limit) if limit and 0 < limit < _FOREVER]
    return min(known, default=2048)


def reason(error: Exception) -> str:
    """The first line of what another library says."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:140]}" if lines else type(error).__name__

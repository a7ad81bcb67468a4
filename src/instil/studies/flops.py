"""How many floating-point operations a model's matrix products take, attention included; nothing else is counted.

    forward    2 x weights x tokens  +  4 x attention width x (tokens that look x tokens that are looked at)
    training   3 x that: the backward pass makes two products for every product of the forward pass

    matrices = Matrices.named("pocket")
    matrices.forward(rows=4, tokens=16, targets=9)          -> 74_317_824, as torch's FlopCounterMode counts it
    tuning_flops(matrices, tokens=91_022, answer_tokens=8_210, rows=640)

Logits are made at trained tokens alone, as tuning does. What is recomputed to save memory, or skipped because a mask
hides it, is not known here: every token of a row looks at every token of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

#: A backward pass makes the gradient of the input and of the weight of every product.
TRAINING = 3
#: How the cross-attention of encoder-decoders is called in a module's path.
_CROSS = ("EncDecAttention", "encoder_attn", "crossattention", "cross_attn")


@dataclass(frozen=True, slots=True)
class Matrices:
    """The sizes of a model's products. `read` is what each token of a row goes through; of an encoder-decoder, of the
    decoder's row.
    """

    read: int
    """Weights."""
    head: int
    """Weights of the output layer."""
    attention: int
    """Summed over layers: heads x their width."""
    encoder: int = 0
    """Weights that each token of the encoder goes through, the keys and values of cross-attention included."""
    encoder_attention: int = 0

    @classmethod
    def named(cls, name: str) -> Matrices:
        """The sizes of a model by name or folder; its weights are not read.

        Raises:
            ModelError: if there is no such model.
        """
        import torch

        from instil.models.loading import resolve
        from instil.models.weights import empty_model

        folder = resolve(name)
        with torch.device("meta"):
            return cls.of(empty_model(folder))

    @classmethod
    def of(cls, model: Any) -> Matrices:
        """The sizes of a model of transformers, whatever its kind."""
        from torch import nn

        head = model.get_output_embeddings()
        read = encoder = 0
        for name, module in model.named_modules():
            weight = getattr(module, "weight", None)
            if module is head or isinstance(module, nn.Embedding) or weight is None or weight.dim() != 2:
                continue
            if _reads_encoder(name):
                encoder += weight.numel()
            else:
                read += weight.numel()
        layers, encoder_layers, width, encoder_width = _attention(model)
        return cls(
            read,
            0 if head is None else head.weight.numel(),
            layers * width,
            encoder,
            encoder_layers * encoder_width,
        )

    @property
    def has_encoder(self) -> bool:
        """Whether it is an encoder-decoder."""
        return self.encoder > 0

    def forward(self, *, rows: float, tokens: float, targets: float, encoder_tokens: float = 0.0) -> float:
        """Operations of a forward pass over a rectangle, or over rows of a mean length.

        Args:
            rows: how many.
            tokens: of each row, padding included; of an encoder-decoder, of the decoder's row.
            targets: tokens at which logits are made, of all rows.
            encoder_tokens: of each row of the encoder.
        """
        products = self.read * rows * tokens + self.head * targets + self.encoder * rows * encoder_tokens
        looking = self.attention * tokens * tokens + self.encoder_attention * encoder_tokens * encoder_tokens
        if self.has_encoder:
            looking += self.attention * tokens * encoder_tokens  # across
        return 2 * products + 4 * rows * looking


def _reads_encoder(name: str) -> bool:
    """Whether a module multiplies what the encoder reads: its own layers, and the decoder's view of it."""
    parts = name.split(".")
    across = any(part in _CROSS for part in parts)
    if across:
        return parts[-1] in {"k", "v", "k_proj", "v_proj", "key", "value"}
    return "encoder" in parts and "decoder" not in parts and _is_encoder_decoder(parts)


def _is_encoder_decoder(parts: list[str]) -> bool:
    """`encoder.block.0...` or `model.encoder.layers.0...`; BERT's `bert.encoder.layer.0...` is no part of a pair."""
    return parts[: parts.index("encoder")] in ([], ["model"])


def _attention(model: Any) -> tuple[int, int, int, int]:
    """(decoder's or only layers, encoder's layers, width of the first, width of the second)."""
    config = model.config
    if not getattr(config, "is_encoder_decoder", False):
        text = config.get_text_config(decoder=True)
        return _layers(text), 0, _width(text), 0
    # asked of the pair itself: what it says of its decoder alone has layers that the pair has not
    layers = _number(config, "num_decoder_layers", "decoder_layers", "num_hidden_layers", "num_layers")
    encoder = _number(config, "encoder_layers", "num_layers", "num_hidden_layers")
    return layers, encoder, _width(config), _width(config)


def _layers(config: Any) -> int:
    return _number(config, "num_hidden_layers", "num_layers")


def _width(config: Any) -> int:
    """Heads x the width of each."""
    heads = _number(config, "num_attention_heads", "num_heads")
    each = getattr(config, "head_dim", None) or getattr(config, "d_kv", None) or config.hidden_size // heads
    return heads * int(each)


def _number(config: Any, *names: str) -> int:
    """The first of some keys that a configuration has."""
    return next(int(found) for name in names if (found := getattr(config, name, None)))


def tuning_flops(
    matrices: Matrices, *, tokens: float, answer_tokens: float, rows: float, padded_share: float = 0.0
) -> float:
    """Operations of a tuning, from what its run counted.

    Args:
        matrices: of the model.
        tokens: read, all of them: prompts and answers.
        answer_tokens: trained on.
        rows: prompts.
        padded_share: of what was computed, how much was padding.
    """
    if not rows:
        return 0.0
    grown = 1.0 / (1.0 - padded_share)
    mean, answer = tokens / rows * grown, answer_tokens / rows * grown
    if matrices.has_encoder:
        once = matrices.forward(rows=rows, tokens=answer, targets=answer_tokens, encoder_tokens=mean - answer)
    else:
        once = matrices.forward(rows=rows, tokens=mean, targets=answer_tokens)
    return TRAINING * once


def asking_flops(matrices: Matrices, *, prompts: float, tokens: float, answer_tokens: float) -> float:
    """Operations of prompts that are read once and answered token by token, each token read once.

    Args:
        matrices: of the model.
        prompts: how many.
        tokens: of a prompt, on average.
        answer_tokens: that it writes, on average.
    """
    if matrices.has_encoder:
        return matrices.forward(
            rows=prompts, tokens=answer_tokens, targets=prompts * answer_tokens, encoder_tokens=tokens
        )
    return matrices.forward(rows=prompts, tokens=tokens + answer_tokens, targets=prompts * answer_tokens)

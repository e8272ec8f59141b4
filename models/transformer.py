"""The Qwen3 transformer, with the parameter names of Hugging Face so that a state dict is a checkpoint file.

One trunk serves both objectives: `causal=True` predicts the next word, `causal=False` lets every position see
the whole sequence (masked words). Sizes in comments: B batch, T tokens, H hidden, N query heads, K key/value
heads, D head width, V vocabulary.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.config import ModelConfig


class KeyValueCache:
    """Keys and values of the tokens seen so far, for generating one token at a time.

    Room for `max_length` tokens is taken once, at the first append, with its batch, type and device.
    """

    def __init__(self, max_length: int) -> None:
        """Make an empty cache for at most `max_length` tokens."""
        if max_length < 1:
            raise ValueError(f"a cache must hold at least one token, not {max_length}")
        self.max_length = max_length
        self.length = 0
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}

    def append(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store (B, K, T, D) behind what `layer` holds; return all of its keys and values so far."""
        batch, heads, tokens, width = keys.shape
        end = self.length + tokens
        if end > self.max_length:
            raise ValueError(f"the cache holds {self.max_length} tokens; {end} were given")
        if layer not in self._layers:
            shape = (batch, heads, self.max_length, width)
            self._layers[layer] = (keys.new_empty(shape), values.new_empty(shape))
        stored_keys, stored_values = self._layers[layer]
        stored_keys[:, :, self.length : end] = keys
        stored_values[:, :, self.length : end] = values
        return stored_keys[:, :, :end], stored_values[:, :, :end]

    def advance(self, tokens: int) -> None:
        """Count `tokens` as seen; the trunk calls it once all layers have appended them."""
        self.length += tokens

    def reset(self) -> None:
        """Forget every token and keep the memory."""
        self.length = 0


class RMSNorm(nn.Module):
    """Root-mean-square normalisation (Zhang & Sennrich 2019), computed in float32 whatever comes in."""

    def __init__(self, width: int, eps: float) -> None:
        """Normalise over the last dimension of size `width`."""
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` scaled to unit mean square, times the learned weight, in the type of `x`."""
        return functional.rms_norm(x.float(), self.weight.shape, self.weight.float(), self.eps).to(x.dtype)


def rotary_tables(config: ModelConfig) -> tuple[Tensor, Tensor]:
    """Cosines and sines (max_position_embeddings, D) of the rotary embedding (Su et al. 2021)."""
    channels = torch.arange(0, config.head_dim, 2, dtype=torch.float32)
    frequencies = 1.0 / (config.rope_theta ** (channels / config.head_dim))
    angles = torch.outer(torch.arange(config.max_position_embeddings, dtype=torch.float32), frequencies)
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Turn the channel pairs (i, i + D/2) of (B, N, T, D) by their position's angle."""
    first, second = x.chunk(2, dim=-1)
    return x * cosines + torch.cat((-second, first), dim=-1) * sines


class Attention(nn.Module):
    """Grouped-query attention (Ainslie et al. 2023) with normalised queries and keys."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        """Make the projections of layer number `layer` (its place in the cache)."""
        super().__init__()
        self.layer = layer
        self.head_dim = config.head_dim
        self.groups = config.num_attention_heads // config.num_key_value_heads
        query_width = config.num_attention_heads * config.head_dim
        shared_width = config.num_key_value_heads * config.head_dim
        self.q_proj = nn.Linear(config.hidden_size, query_width, bias=False)
        self.k_proj = nn.Linear(config.hidden_size, shared_width, bias=False)
        self.v_proj = nn.Linear(config.hidden_size, shared_width, bias=False)
        self.o_proj = nn.Linear(query_width, config.hidden_size, bias=False)
        self.q_norm = RMSNorm(config.head_dim, config.rms_norm_eps)
        self.k_norm = RMSNorm(config.head_dim, config.rms_norm_eps)

    def _heads(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:-1], -1, self.head_dim)

    def forward(
        self,
        x: Tensor,
        cosines: Tensor,
        sines: Tensor,
        mask: Tensor | None,
        is_causal: bool,
        cache: KeyValueCache | None,
    ) -> Tensor:
        """Mix (B, T, H) along T; `mask` broadcasts to (B, N, T, keys), True where attention is allowed."""
        queries = self.q_norm(self._heads(self.q_proj(x))).transpose(1, 2)
        keys = self.k_norm(self._heads(self.k_proj(x))).transpose(1, 2)
        values = self._heads(self.v_proj(x)).transpose(1, 2)
        queries = rotate(queries, cosines, sines).to(values.dtype)
        keys = rotate(keys, cosines, sines).to(values.dtype)
        if cache is not None:
            keys, values = cache.append(self.layer, keys, values)
        mixed = functional.scaled_dot_product_attention(
            queries, keys, values, attn_mask=mask, is_causal=is_causal, enable_gqa=self.groups > 1
        )
        output: Tensor = self.o_proj(mixed.transpose(1, 2).flatten(2))
        return output


class FeedForward(nn.Module):
    """SwiGLU (Shazeer 2020)."""

    def __init__(self, config: ModelConfig) -> None:
        """Make the gate, up and down projections."""
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Transform every position of (B, T, H) by itself."""
        output: Tensor = self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))
        return output


class Layer(nn.Module):
    """Attention, then feed-forward, each on a normalised copy and added back to the residual stream."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        """Make layer number `layer`."""
        super().__init__()
        self.self_attn = Attention(config, layer)
        self.mlp = FeedForward(config)
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(
        self,
        x: Tensor,
        cosines: Tensor,
        sines: Tensor,
        mask: Tensor | None,
        is_causal: bool,
        cache: KeyValueCache | None,
    ) -> Tensor:
        """Return the residual stream (B, T, H) after both sub-layers."""
        mixed: Tensor = x + self.self_attn(self.input_layernorm(x), cosines, sines, mask, is_causal, cache)
        output: Tensor = mixed + self.mlp(self.post_attention_layernorm(mixed))
        return output


def attention_pattern(
    tokens: int, past: int, causal: bool, attention_mask: Tensor | None, device: torch.device
) -> tuple[Tensor | None, bool]:
    """Say who may look at whom: (mask, is_causal) for scaled_dot_product_attention.

    No mask is built where the kernel's own causal flag, or full attention, says the same: the fast path.
    With `attention_mask` (B, past + tokens) every position keeps sight of itself: a row of padding
    that may look at nothing is NaN in some kernels.
    """
    if attention_mask is None and (past == 0 or tokens == 1 or not causal):
        return None, causal and past == 0 and tokens > 1
    rows = torch.arange(past, past + tokens, device=device)[:, None]
    columns = torch.arange(past + tokens, device=device)[None, :]
    allowed = columns <= rows if causal else torch.ones_like(columns <= rows)
    if attention_mask is None:
        return allowed, False
    seen = allowed & attention_mask[:, None, :].bool()
    return (seen | (columns == rows))[:, None], False


class Trunk(nn.Module):
    """Embedding, layers and final norm: token ids in, hidden states out."""

    cosines: Tensor
    sines: Tensor

    def __init__(self, config: ModelConfig) -> None:
        """Make a trunk of the configured shape."""
        super().__init__()
        self.max_tokens = config.max_position_embeddings
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config, number) for number in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        cosines, sines = rotary_tables(config)
        self.register_buffer("cosines", cosines, persistent=False)
        self.register_buffer("sines", sines, persistent=False)

    def forward(
        self,
        input_ids: Tensor,
        *,
        causal: bool = True,
        attention_mask: Tensor | None = None,
        cache: KeyValueCache | None = None,
    ) -> Tensor:
        """Encode (B, T) ids to (B, T, H).

        `attention_mask` is True at real tokens, False at padding, and covers cached tokens: (B, past + T).

        Raises:
            ValueError: more tokens than the rotary tables cover, a mask of another shape, or a cache with
                `causal=False` (earlier tokens cannot be shown later ones after the fact).
        """
        tokens, past = input_ids.shape[1], 0 if cache is None else cache.length
        if past + tokens > self.max_tokens:
            raise ValueError(f"{past + tokens} tokens exceed max_position_embeddings ({self.max_tokens})")
        if cache is not None and not causal:
            raise ValueError("a key/value cache needs causal attention")
        if attention_mask is not None and attention_mask.shape != (input_ids.shape[0], past + tokens):
            expected = (input_ids.shape[0], past + tokens)
            raise ValueError(f"attention_mask has shape {tuple(attention_mask.shape)}, expected {expected}")
        mask, is_causal = attention_pattern(tokens, past, causal, attention_mask, input_ids.device)
        cosines, sines = self.cosines[past : past + tokens], self.sines[past : past + tokens]
        x = self.embed_tokens(input_ids)
        for layer in self.layers:
            x = layer(x, cosines, sines, mask, is_causal, cache)
        if cache is not None:
            cache.advance(tokens)
        hidden: Tensor = self.norm(x)
        return hidden


class LanguageModel(nn.Module):
    """The trunk and its output head: the embedding table itself when tied, else `lm_head`."""

    def __init__(self, config: ModelConfig, *, seed: int | None = 0) -> None:
        """Make a model with the weights of `reset_parameters(seed)`; None leaves them to a loader."""
        super().__init__()
        self.config = config
        self.model = Trunk(config)
        self.lm_head = (
            None
            if config.tie_word_embeddings
            else nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        )
        if seed is not None:
            self.reset_parameters(seed)

    @torch.no_grad()
    def reset_parameters(self, seed: int) -> None:
        """Draw new weights that depend on `seed` alone, not on the device or the global generator.

        Normal(0, initializer_range); the projections that write to the residual stream are scaled by
        1/sqrt(2 layers) (Radford et al. 2019). The embedding and head are capped at 3 / hidden_size: the
        final norm brings the stream to unit scale, so a larger tied table would confidently predict each word
        to be followed by itself, and the first loss would lie above ln(vocab_size).
        """
        config, generator = self.config, torch.Generator().manual_seed(seed)
        residual = config.initializer_range / math.sqrt(2 * config.num_hidden_layers)
        table = min(config.initializer_range, 3.0 / config.hidden_size)
        for name, weight in self.named_parameters():
            if weight.dim() == 1:
                weight.fill_(1.0)
                continue
            is_residual = name.endswith(("o_proj.weight", "down_proj.weight"))
            is_table = name.endswith(("embed_tokens.weight", "lm_head.weight"))
            std = residual if is_residual else table if is_table else config.initializer_range
            weight.copy_(torch.empty(weight.shape).normal_(0.0, std, generator=generator))

    def logits(self, hidden: Tensor) -> Tensor:
        """Score every vocabulary entry from hidden states (..., H), giving (..., V)."""
        head = self.model.embed_tokens.weight if self.lm_head is None else self.lm_head.weight
        return functional.linear(hidden, head)

    def forward(
        self,
        input_ids: Tensor,
        *,
        causal: bool = True,
        attention_mask: Tensor | None = None,
        cache: KeyValueCache | None = None,
    ) -> Tensor:
        """Score the vocabulary at every position: (B, T) ids to (B, T, V) logits; arguments as `Trunk`'s."""
        return self.logits(self.model(input_ids, causal=causal, attention_mask=attention_mask, cache=cache))

"""The shape of the network, and its translation to and from a Hugging Face Qwen3 `config.json`.

Architecture: Qwen3 (Yang et al. 2025, "Qwen3 Technical Report"), dense variant only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

_REQUIRED = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
# What `Qwen3Config` assumes for keys that a config.json leaves out.
_HF_DEFAULTS: dict[str, Any] = {
    "head_dim": 128,
    "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-6,
    "initializer_range": 0.02,
    "tie_word_embeddings": False,
    "bos_token_id": None,
    "pad_token_id": None,
    "mask_token_id": None,
}
_HF_DEFAULT_THETA = 10_000.0
_MAX_ROTARY_CELLS = 2**28


class ModelConfig(BaseModel):
    """Every number that fixes the network's shape and its maths. Field names are Hugging Face's."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    vocab_size: int = Field(8192, ge=8, le=2_000_000, description="Rows of the embedding table.")
    hidden_size: int = Field(256, ge=8, le=65_536, description="Width of the residual stream.")
    intermediate_size: int = Field(768, ge=8, le=262_144, description="Inner width of the SwiGLU sub-layer.")
    num_hidden_layers: int = Field(6, ge=1, le=512, description="Number of stacked decoder layers.")
    num_attention_heads: int = Field(4, ge=1, le=1024, description="Query heads per layer.")
    num_key_value_heads: int = Field(
        2, ge=1, le=1024, description="Key/value heads shared by the query heads."
    )
    head_dim: int = Field(64, ge=2, le=1024, description="Width of one head; even, because RoPE turns pairs.")
    max_position_embeddings: int = Field(
        512, ge=2, le=10_000_000, description="Longest sequence, in tokens, that the rotary tables cover."
    )
    rope_theta: float = Field(10_000.0, gt=1.0, le=1e12, description="Base of the rotary frequencies.")
    rms_norm_eps: float = Field(
        1e-6, gt=0.0, le=1e-2, description="Added to the mean square in every RMSNorm."
    )
    initializer_range: float = Field(0.02, gt=0.0, le=1.0, description="Standard deviation of new weights.")
    tie_word_embeddings: bool = Field(True, description="Use the embedding table as the output head too.")
    bos_token_id: int | None = Field(0, ge=0, description="Token that opens a document (`<|endoftext|>`).")
    eos_token_id: int | None = Field(0, ge=0, description="Token that ends a document (`<|endoftext|>`).")
    extra_eos_token_ids: tuple[int, ...] = Field((), description="Further tokens that end a generation.")
    pad_token_id: int | None = Field(1, ge=0, description="Token that fills short rows (`<|pad|>`).")
    mask_token_id: int | None = Field(2, ge=0, description="Token that hides a word (`<|mask|>`).")

    @model_validator(mode="after")
    def _shapes_agree(self) -> Self:
        heads, shared = self.num_attention_heads, self.num_key_value_heads
        if heads % shared:
            raise ValueError(
                f"num_attention_heads ({heads}) must be a multiple of num_key_value_heads ({shared})"
            )
        if self.head_dim % 2:
            raise ValueError(
                f"head_dim ({self.head_dim}) must be even: rotary embedding turns pairs of channels"
            )
        if self.max_position_embeddings * self.head_dim > _MAX_ROTARY_CELLS:
            raise ValueError(f"max_position_embeddings times head_dim must not exceed {_MAX_ROTARY_CELLS}")
        for name in ("bos_token_id", "eos_token_id", "pad_token_id", "mask_token_id"):
            self._inside_vocabulary(name, getattr(self, name))
        for token in self.extra_eos_token_ids:
            self._inside_vocabulary("extra_eos_token_ids", token)
        return self

    def _inside_vocabulary(self, name: str, token: int | None) -> None:
        if token is not None and not 0 <= token < self.vocab_size:
            raise ValueError(f"{name} ({token}) must be at least 0 and below vocab_size ({self.vocab_size})")

    @property
    def eos_token_ids(self) -> tuple[int, ...]:
        """All tokens that end a generation, the principal one first."""
        own = () if self.eos_token_id is None else (self.eos_token_id,)
        return own + tuple(token for token in self.extra_eos_token_ids if token not in own)

    def parameter_count(self, *, embeddings: bool = True) -> int:
        """Exact number of trainable numbers; `embeddings=False` leaves out the embedding table and head."""
        query, shared = self.num_attention_heads * self.head_dim, self.num_key_value_heads * self.head_dim
        attention = self.hidden_size * (2 * query + 2 * shared) + 2 * self.head_dim
        feed_forward = 3 * self.hidden_size * self.intermediate_size
        layers = self.num_hidden_layers * (attention + feed_forward + 2 * self.hidden_size)
        tables = self.vocab_size * self.hidden_size * (1 if self.tie_word_embeddings else 2)
        return layers + self.hidden_size + (tables if embeddings else 0)

    def to_hf(self, *, dtype: str = "float32") -> dict[str, Any]:
        """Describe the same network as a `config.json` for `transformers` 4.51 and up."""
        own = self.model_dump(exclude={"extra_eos_token_ids", "eos_token_id"})
        ends = list(self.eos_token_ids)
        return {
            **own,
            "architectures": ["Qwen3ForCausalLM"],
            "model_type": "qwen3",
            "attention_bias": False,
            "attention_dropout": 0.0,
            "hidden_act": "silu",
            "eos_token_id": ends[0] if len(ends) == 1 else (ends or None),
            "rope_scaling": None,
            "sliding_window": None,
            "use_sliding_window": False,
            "torch_dtype": dtype,
            "use_cache": True,
        }

    @classmethod
    def from_hf(cls, config: Mapping[str, Any]) -> ModelConfig:
        """Read a dense Qwen3 `config.json`, of `transformers` 4 or 5.

        Raises:
            ValueError: one line naming the key that is missing, malformed or beyond this implementation
                (attention bias, sliding window, rope scaling, mixture of experts, another model type).
        """
        _refuse_what_we_cannot_represent(config)
        missing = [name for name in _REQUIRED if config.get(name) is None]
        if missing:
            raise ValueError(f"config.json lacks {', '.join(missing)}")
        values = {name: config[name] for name in _REQUIRED}
        values |= {name: config.get(name, default) for name, default in _HF_DEFAULTS.items()}
        shared = config.get("num_key_value_heads")
        values["num_key_value_heads"] = config["num_attention_heads"] if shared is None else shared
        values["rope_theta"] = _rope_theta(config)
        ends = config.get("eos_token_id")
        ends = list(ends) if isinstance(ends, list | tuple) else [] if ends is None else [ends]
        values["eos_token_id"], values["extra_eos_token_ids"] = (ends[0] if ends else None), tuple(ends[1:])
        try:
            return cls(**values)
        except ValidationError as error:
            details = "; ".join(
                f"{'.'.join(map(str, problem['loc'])) or 'config'}: {problem['msg']}"
                for problem in error.errors()
            )
            raise ValueError(f"config.json does not describe a network we can build: {details}") from error


def _refuse_what_we_cannot_represent(config: Mapping[str, Any]) -> None:
    kind = config.get("model_type")
    experts = [
        name for name in ("num_experts", "num_local_experts", "num_experts_per_tok") if config.get(name)
    ]
    layer_types = config.get("layer_types") or []
    if not isinstance(layer_types, list | tuple):
        raise ValueError(f"config.json: layer_types must be a list, not {type(layer_types).__name__}")
    rope = {**_section(config, "rope_scaling"), **_section(config, "rope_parameters")}
    rope_type = rope.get("rope_type", rope.get("type", "default"))
    refusals = {
        f"{', '.join(experts)}: mixture of experts": bool(experts) or kind == "qwen3_moe",
        f"model_type {kind!r}, only 'qwen3'": kind != "qwen3",
        "attention_bias: biased projections": bool(config.get("attention_bias")),
        "use_sliding_window: windowed attention": bool(config.get("use_sliding_window"))
        or any(name != "full_attention" for name in layer_types),
        f"rope scaling of type {rope_type!r}": rope_type != "default",
        f"hidden_act {config.get('hidden_act')!r}, only 'silu'": config.get("hidden_act", "silu") != "silu",
        "quantization_config: quantised weights": bool(config.get("quantization_config")),
    }
    refused = next((reason for reason, applies in refusals.items() if applies), None)
    if refused:
        raise ValueError(f"config.json asks for what this implementation does not support: {refused}")


def _rope_theta(config: Mapping[str, Any]) -> Any:
    nested = _section(config, "rope_parameters")
    return nested.get("rope_theta", config.get("rope_theta", _HF_DEFAULT_THETA))


def _section(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = config.get(name) or {}
    if not isinstance(section, Mapping):
        raise ValueError(f"config.json: {name} must be an object, not {type(section).__name__}")
    return section

"""Hugging Face model folders: write ours, read any dense Qwen3 one. Weights are safetensors, never pickle."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor

from models.config import ModelConfig
from models.transformer import LanguageModel, rotary_tables

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
GENERATION_CONFIG, TOKENIZER, TOKENIZER_CONFIG = (
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
)
SEPARATOR = "<|sep|>"
_FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_MAX_JSON_BYTES = 64 * 2**20
_COMPILED = "_orig_mod."


def save_pretrained(
    model: torch.nn.Module,
    folder: Path,
    tokenizer_json: Path | None = None,
    *,
    dtype: torch.dtype | None = None,
) -> None:
    """Write `model` as a folder that `transformers` loads as `Qwen3ForCausalLM`.

    The same weights give the same bytes. A tied head is stored once, as the embedding table. A compiled
    model is saved under its plain names.

    Args:
        model: a `LanguageModel`, or one wrapped by `torch.compile`.
        folder: created if missing; files of the same names are replaced.
        tokenizer_json: a `tokenizers` file to copy beside the weights; its special tokens are looked up
            by the ids in the configuration.
        dtype: type of the stored numbers; by default that of the embedding table.

    Raises:
        ValueError: a weight is not finite, or the tokenizer is unreadable or larger than the vocabulary.
    """
    network = getattr(model, "_orig_mod", model)
    if not isinstance(network, LanguageModel):
        raise ValueError(f"only a LanguageModel can be exported, not {type(network).__name__}")
    weights = _stored_weights(network, dtype or network.model.embed_tokens.weight.dtype)
    tokenizer_config = None if tokenizer_json is None else _tokenizer_config(network.config, tokenizer_json)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    stored_type = str(next(iter(weights.values())).dtype).removeprefix("torch.")
    _write_json(folder / CONFIG, network.config.to_hf(dtype=stored_type))
    _write_json(folder / GENERATION_CONFIG, _generation_config(network.config))
    if tokenizer_json is not None and tokenizer_config is not None:
        if tokenizer_json.resolve() != (folder / TOKENIZER).resolve():
            shutil.copyfile(tokenizer_json, folder / TOKENIZER)
        _write_json(folder / TOKENIZER_CONFIG, tokenizer_config)


def load_pretrained(folder: Path, *, dtype: torch.dtype = torch.float32) -> LanguageModel:
    """Read a dense Qwen3 folder, ours or anyone's, in one file or in shards, onto the CPU in evaluation mode.

    Shapes are compared before memory is taken, so a config that lies about its size costs nothing.

    Raises:
        ValueError: one line naming the file and what is wrong: pickled weights, malformed JSON or
            safetensors, an architecture we cannot represent, missing, unexpected or wrongly shaped weights, or
            weights that are not finite.
    """
    config = load_config(folder)
    with torch.device("meta"):
        model = LanguageModel(config, seed=None)
    expected = {name: tuple(weight.shape) for name, weight in model.state_dict().items()}
    files = _weight_files(folder)
    found = _shapes(files)
    head_is_copy = config.tie_word_embeddings and "lm_head.weight" in found
    compared = {
        name: shape for name, shape in found.items() if not (head_is_copy and name == "lm_head.weight")
    }
    _require_same(folder, expected, compared)
    weights = {name: weight for file in files for name, weight in _tensors(file, dtype)}
    if head_is_copy and not torch.equal(weights.pop("lm_head.weight"), weights["model.embed_tokens.weight"]):
        raise ValueError(f"{folder}: tie_word_embeddings is set, yet lm_head.weight is another table")
    model.load_state_dict(weights, strict=True, assign=True)
    model.model.cosines, model.model.sines = rotary_tables(config)
    return model.eval()


def load_config(folder: Path) -> ModelConfig:
    """Read `config.json`, and the further end tokens that `generation_config.json` may name."""
    raw = _read_json(folder / CONFIG)
    try:
        config = ModelConfig.from_hf(raw)
        if not (folder / GENERATION_CONFIG).is_file():
            return config
        ends = _read_json(folder / GENERATION_CONFIG).get("eos_token_id")
        extra = ends if isinstance(ends, list) else [] if ends is None else [ends]
        if set(extra) <= set(config.eos_token_ids):
            return config
        return ModelConfig.from_hf(
            {**raw, "eos_token_id": list(dict.fromkeys([*config.eos_token_ids, *extra]))}
        )
    except (ValueError, TypeError) as error:
        raise ValueError(f"{folder}: {error}") from error


def load_tokenizer(folder: Path) -> Tokenizer:
    """Read `tokenizer.json` of a model folder; ValueError with the file's name if that fails."""
    return _read_tokenizer(folder / TOKENIZER)


def _stored_weights(model: LanguageModel, dtype: torch.dtype) -> dict[str, Tensor]:
    if dtype not in _FLOATS:
        raise ValueError(f"weights cannot be stored as {dtype}")
    weights = {
        name.replace(_COMPILED, ""): weight.detach().to("cpu", dtype).contiguous()
        for name, weight in model.state_dict().items()
    }
    broken = [name for name, weight in weights.items() if not torch.isfinite(weight).all()]
    if broken:
        raise ValueError(f"refusing to export weights that are not finite: {_listing(broken)}")
    return weights


def _generation_config(config: ModelConfig) -> dict[str, Any]:
    own = config.to_hf()
    tokens = {
        name: own[name] for name in ("bos_token_id", "eos_token_id", "pad_token_id") if own[name] is not None
    }
    return {"do_sample": False, **tokens}


def _tokenizer_config(config: ModelConfig, tokenizer_json: Path) -> dict[str, Any]:
    tokenizer = _read_tokenizer(tokenizer_json)
    size = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1
    if size > config.vocab_size:
        raise ValueError(f"{tokenizer_json} has {size} tokens, the model's vocab_size is {config.vocab_size}")
    ids = {"bos": config.bos_token_id, "eos": config.eos_token_id}
    ids |= {
        "pad": config.pad_token_id,
        "mask": config.mask_token_id,
        "sep": tokenizer.token_to_id(SEPARATOR),
    }
    names = {
        f"{role}_token": tokenizer.id_to_token(token) for role, token in ids.items() if token is not None
    }
    return {
        **{role: name for role, name in names.items() if name is not None},
        "clean_up_tokenization_spaces": False,
        "model_max_length": config.max_position_embeddings,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }


def _weight_files(folder: Path) -> list[Path]:
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if (folder / INDEX).is_file():
        return _shards(folder)
    pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
    if pickles:
        raise ValueError(
            f"{folder}: {_listing(pickles)} is pickle, which can run code when read; convert it to {WEIGHTS}"
        )
    raise ValueError(f"{folder}: neither {WEIGHTS} nor {INDEX} is there")


def _shards(folder: Path) -> list[Path]:
    weight_map = _read_json(folder / INDEX).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ValueError(f"{folder / INDEX}: weight_map must name the file of every weight")
    files = []
    for name in sorted({str(value) for value in weight_map.values()}):
        if Path(name).name != name or "\\" in name or "\0" in name or not name.endswith(".safetensors"):
            raise ValueError(f"{folder / INDEX}: {name!r} must be the plain name of a .safetensors file")
        if not (folder / name).is_file():
            raise ValueError(f"{folder / INDEX}: {name} is not there")
        files.append(folder / name)
    return files


def _shapes(files: list[Path]) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for file in files:
        try:
            with safe_open(file, framework="pt") as weights:
                own = {name: tuple(weights.get_slice(name).get_shape()) for name in weights.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{file} is not a readable safetensors file: {error}") from error
        twice = sorted(shapes.keys() & own.keys())
        if twice:
            raise ValueError(f"{file}: {_listing(twice)} is already in another shard")
        shapes |= own
    return shapes


def _tensors(file: Path, dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
    try:
        with safe_open(file, framework="pt") as weights:
            for name in weights.keys():  # noqa: SIM118
                stored = weights.get_tensor(name)
                if stored.dtype not in _FLOATS:
                    raise ValueError(
                        f"{file}: {name} is {stored.dtype}; only plain floating-point weights load"
                    )
                if not bool(torch.isfinite(stored).all()):
                    raise ValueError(f"{file}: {name} is not finite")
                # A copy, so that the model never shares memory with a file that may change under it.
                yield name, stored.to(dtype, copy=True)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{file} is not a readable safetensors file: {error}") from error


def _require_same(
    folder: Path, expected: dict[str, tuple[int, ...]], found: dict[str, tuple[int, ...]]
) -> None:
    misshapen = [
        f"{name} is {found[name]}, expected {shape}"
        for name, shape in expected.items()
        if name in found and found[name] != shape
    ]
    complaints = {
        "missing": sorted(expected.keys() - found.keys()),
        "unexpected": sorted(found.keys() - expected.keys()),
        "wrong shape": misshapen,
    }
    told = [f"{what}: {_listing(names)}" for what, names in complaints.items() if names]
    if told:
        raise ValueError(f"{folder}: weights do not fit {CONFIG}; {'; '.join(told)}")


def _listing(names: list[str], shown: int = 5) -> str:
    rest = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + rest


def _read_tokenizer(path: Path) -> Tokenizer:
    if not path.is_file():
        raise ValueError(f"{path} is not there")
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the binding raises bare Exception
        raise ValueError(f"{path} is not a readable tokenizer: {error}") from error


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ValueError(f"{path} is not there")
    if path.stat().st_size > _MAX_JSON_BYTES:
        raise ValueError(f"{path} is larger than {_MAX_JSON_BYTES} bytes, too large for a description")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold a JSON object")
    return content


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")

"""Model folders: what `transformers` makes of ours, what we make of theirs, and what we refuse."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers.models import BPE

from models.config import ModelConfig
from models.export import load_config, load_pretrained, load_tokenizer, save_pretrained
from models.transformer import LanguageModel

SPECIAL = ["<|endoftext|>", "<|pad|>", "<|mask|>", "<|sep|>"]


@pytest.fixture(scope="module")
def tokenizer_json(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=[AddedToken(name, special=True) for name in SPECIAL],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["the cat sat on the mat and the dog sat on the log"] * 5, trainer)
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    tokenizer.save(str(path))
    return path


def small_model(**changes: Any) -> LanguageModel:
    values = {"vocab_size": 300, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    values |= {
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "max_position_embeddings": 64,
    }
    # A wide initialisation, so that greedy choices are not ties.
    return LanguageModel(ModelConfig.model_validate({**values, "initializer_range": 0.2, **changes})).eval()


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


IDS = torch.arange(4, 40).reshape(2, 18)


@pytest.mark.parametrize("tied", [True, False])
@torch.no_grad()
def test_transformers_loads_our_folder_with_equal_logits(
    tmp_path: Path, tokenizer_json: Path, tied: bool
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = small_model(tie_word_embeddings=tied, rope_theta=123_456.0)
    save_pretrained(model, tmp_path, tokenizer_json)
    theirs, info = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert type(theirs).__name__ == "Qwen3ForCausalLM"
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    torch.testing.assert_close(theirs(IDS).logits, model(IDS), atol=1e-4, rtol=0)
    assert (theirs.generation_config.eos_token_id, theirs.generation_config.pad_token_id) == (0, 1)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    names = (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token, tokenizer.mask_token)
    assert names == ("<|endoftext|>", "<|endoftext|>", "<|pad|>", "<|mask|>")
    assert tokenizer.sep_token == "<|sep|>"
    text = "the cat — 猫 🐈\u200d⬛"
    assert tokenizer(text)["input_ids"] == Tokenizer.from_file(str(tokenizer_json)).encode(text).ids
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("max_shard_size", ["5GB", "20KB"])
@torch.no_grad()
def test_we_load_their_folder_with_equal_logits(tmp_path: Path, tied: bool, max_shard_size: str) -> None:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=90,
        hidden_size=32,
        intermediate_size=40,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=128,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        tie_word_embeddings=tied,
        bos_token_id=80,
        eos_token_id=[81, 80],
        initializer_range=0.2,
    )
    theirs = Qwen3ForCausalLM(config).eval()
    theirs.save_pretrained(tmp_path, max_shard_size=max_shard_size)
    assert (tmp_path / "model.safetensors.index.json").exists() == (max_shard_size == "20KB")
    ours = load_pretrained(tmp_path)
    assert ours.config.rope_theta == 1e6 and ours.config.eos_token_ids == (81, 80)
    torch.testing.assert_close(ours(IDS), theirs(IDS).logits, atol=1e-4, rtol=0)


@torch.no_grad()
def test_our_folder_round_trips_exactly(tmp_path: Path, tokenizer_json: Path) -> None:
    model = small_model()
    save_pretrained(model, tmp_path, tokenizer_json)
    loaded = load_pretrained(tmp_path)
    assert loaded.config == model.config
    assert not loaded.training and all(weight.requires_grad for weight in loaded.parameters())
    assert torch.equal(loaded(IDS), model(IDS))
    assert load_tokenizer(tmp_path).token_to_id("<|mask|>") == 2


def test_a_loaded_model_does_not_share_memory_with_its_file(tmp_path: Path) -> None:
    save_pretrained(small_model(), tmp_path)
    loaded = load_pretrained(tmp_path)
    before = loaded.model.norm.weight.clone()
    file = tmp_path / "model.safetensors"
    with file.open("r+b") as stream:
        stream.seek(file.stat().st_size // 2)
        stream.write(b"\xff" * (file.stat().st_size // 2))
    assert torch.equal(loaded.model.norm.weight, before)


def test_the_same_weights_give_the_same_bytes(tmp_path: Path, tokenizer_json: Path) -> None:
    model = small_model()
    save_pretrained(model, tmp_path / "first", tokenizer_json)
    save_pretrained(model, tmp_path / "second", tokenizer_json)
    save_pretrained(
        load_pretrained(tmp_path / "first"), tmp_path / "third", tmp_path / "first" / "tokenizer.json"
    )
    save_pretrained(torch.compile(model), tmp_path / "fourth", tokenizer_json)  # type: ignore[arg-type]
    first = digests(tmp_path / "first")
    assert sorted(first) == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    assert (
        first == digests(tmp_path / "second") == digests(tmp_path / "third") == digests(tmp_path / "fourth")
    )
    assert str(tmp_path) not in (tmp_path / "first" / "tokenizer_config.json").read_text()


def test_a_tied_head_is_stored_once(tmp_path: Path) -> None:
    save_pretrained(small_model(), tmp_path)
    assert "lm_head.weight" not in load_file(tmp_path / "model.safetensors")


@torch.no_grad()
def test_a_stored_copy_of_a_tied_head_is_accepted_and_another_table_is_not(tmp_path: Path) -> None:
    model = small_model()
    save_pretrained(model, tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    table = weights["model.embed_tokens.weight"]
    save_file({**weights, "lm_head.weight": table.clone()}, tmp_path / "model.safetensors")
    assert torch.equal(load_pretrained(tmp_path)(IDS), model(IDS))
    save_file({**weights, "lm_head.weight": table + 1}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"tie_word_embeddings is set, yet lm_head\.weight is another table"):
        load_pretrained(tmp_path)


def test_half_precision_is_declared_and_restored(tmp_path: Path) -> None:
    save_pretrained(small_model(), tmp_path, dtype=torch.bfloat16)
    assert json.loads((tmp_path / "config.json").read_text())["torch_dtype"] == "bfloat16"
    assert load_file(tmp_path / "model.safetensors")["model.norm.weight"].dtype == torch.bfloat16
    assert load_pretrained(tmp_path).model.norm.weight.dtype == torch.float32
    assert load_pretrained(tmp_path, dtype=torch.bfloat16).model.norm.weight.dtype == torch.bfloat16


def test_generation_config_adds_end_tokens(tmp_path: Path) -> None:
    save_pretrained(small_model(), tmp_path)
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [7, 0]}')
    assert load_config(tmp_path).eos_token_ids == (0, 7)


def test_weights_that_are_not_finite_are_not_exported(tmp_path: Path) -> None:
    model = small_model()
    with torch.no_grad():
        model.model.norm.weight[3] = float("nan")
    with pytest.raises(ValueError, match=r"not finite: model\.norm\.weight"):
        save_pretrained(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_tokenizer_that_does_not_fit_is_not_exported(tmp_path: Path, tokenizer_json: Path) -> None:
    size = Tokenizer.from_file(str(tokenizer_json)).get_vocab_size()
    with pytest.raises(ValueError, match=rf"has {size} tokens, the model's vocab_size is {size - 1}"):
        save_pretrained(small_model(vocab_size=size - 1), tmp_path / "out", tokenizer_json)
    (tmp_path / "broken.json").write_text("{}")
    with pytest.raises(ValueError, match=r"broken\.json is not a readable tokenizer"):
        save_pretrained(small_model(), tmp_path / "out", tmp_path / "broken.json")
    assert not (tmp_path / "out").exists()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_pretrained(small_model(), tmp_path / "model")
    return tmp_path / "model"


def test_missing_unexpected_and_misshapen_weights_are_named_together(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.self_attn.q_norm.weight"]
    weights["model.layers.7.mlp.up_proj.weight"] = torch.zeros(2)
    weights["model.norm.weight"] = torch.ones(31)
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(ValueError) as caught:
        load_pretrained(folder)
    message = str(caught.value)
    assert "missing: model.layers.1.self_attn.q_norm.weight" in message
    assert "unexpected: model.layers.7.mlp.up_proj.weight" in message
    assert "wrong shape: model.norm.weight is (31,), expected (32,)" in message
    assert "\n" not in message


def test_a_config_that_lies_about_its_size_takes_no_memory(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    huge = {"vocab_size": 2_000_000, "hidden_size": 65_536, "intermediate_size": 262_144}
    (folder / "config.json").write_text(json.dumps(config | huge))
    with pytest.raises(ValueError, match="wrong shape"):  # a terabyte, were it built
        load_pretrained(folder)


def test_pickled_weights_are_refused_by_name_and_not_opened(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04would run if unpickled.")
    with pytest.raises(ValueError, match=r"pytorch_model\.bin is pickle"):
        load_pretrained(folder)
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(ValueError, match=r"neither model\.safetensors nor model\.safetensors\.index\.json"):
        load_pretrained(folder)


def header(content: bytes, size: int | None = None) -> bytes:
    return (len(content) if size is None else size).to_bytes(8, "little") + content


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"\x08\x00",
        header(b"{}", size=2**60),
        header(b"not json"),
        header(b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}'),
        header(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],'
               b'"data_offsets":[0,4]}}') + b"1234",
        header(b'{"a":{"dtype":"F32","shape":[9223372036854775807,9],"data_offsets":[0,4]}}') + b"1234",
    ],
    ids=["empty", "short", "huge header", "not json", "truncated", "overlapping", "overflowing"],
)  # fmt: skip
def test_malformed_safetensors_are_refused(folder: Path, damaged: bytes) -> None:
    (folder / "model.safetensors").write_bytes(damaged)
    with pytest.raises(ValueError, match=r"model\.safetensors is not a readable safetensors file"):
        load_pretrained(folder)


def test_a_truncated_file_is_refused(folder: Path) -> None:
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:-1])
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        load_pretrained(folder)


def test_quantised_numbers_are_refused(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    save_file(
        {**weights, "model.norm.weight": torch.ones(32, dtype=torch.int8)}, folder / "model.safetensors"
    )
    with pytest.raises(ValueError, match=r"model\.norm\.weight is torch\.int8"):
        load_pretrained(folder)


def shard(folder: Path, weight_map: dict[str, str] | None) -> None:
    shutil.move(folder / "model.safetensors", folder / "one.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("../one.safetensors", "plain name"),
        ("/etc/passwd", "plain name"),
        ("weights.bin", "plain name"),
        ("absent.safetensors", "is not there"),
    ],
)
def test_an_index_may_only_name_shards_beside_it(folder: Path, name: str, complaint: str) -> None:
    shard(folder, {"model.norm.weight": name})
    with pytest.raises(ValueError, match=complaint):
        load_pretrained(folder)


def test_a_weight_in_two_shards_and_an_empty_index_are_refused(folder: Path) -> None:
    shard(folder, None)
    with pytest.raises(ValueError, match="weight_map must name"):
        load_pretrained(folder)
    save_file({"model.norm.weight": torch.ones(32)}, folder / "two.safetensors")
    index = {"weight_map": {"model.norm.weight": "two.safetensors", "other": "one.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match=r"model\.norm\.weight is already in another shard"):
        load_pretrained(folder)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"attention_bias": True}, "attention_bias"),
        ({"use_sliding_window": True}, "use_sliding_window"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "use_sliding_window"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "rope scaling of type 'yarn'"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope scaling of type 'linear'"),
        ({"rope_parameters": {"rope_type": "dynamic"}}, "rope scaling of type 'dynamic'"),
        ({"model_type": "qwen3_moe", "num_experts": 8}, "num_experts: mixture of experts"),
        ({"model_type": "llama"}, "model_type 'llama'"),
        ({"hidden_act": "gelu"}, "hidden_act 'gelu'"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
        ({"hidden_size": None}, "lacks hidden_size"),
        ({"num_key_value_heads": 3}, "must be a multiple"),
        ({"head_dim": "wide"}, "head_dim"),
        ({"rope_scaling": "yarn"}, "rope_scaling must be an object"),
        ({"layer_types": 3}, "layer_types must be a list"),
        ({"vocab_size": 10**30}, "vocab_size"),
    ],
)
def test_configs_beyond_us_are_refused_by_name(folder: Path, change: dict[str, Any], complaint: str) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(ValueError, match=complaint) as caught:
        load_pretrained(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["", "[1]", "{", "[" * 100_000, '{"a": \udcff}'])
def test_malformed_config_files_are_refused(folder: Path, content: str) -> None:
    (folder / "config.json").write_bytes(content.encode("utf-8", errors="surrogateescape"))
    with pytest.raises(ValueError, match=r"config\.json"):
        load_pretrained(folder)


def test_old_and_new_spellings_of_the_rotary_base_are_read() -> None:
    config = small_model().config.to_hf()
    assert ModelConfig.from_hf(config | {"rope_theta": 1e6}).rope_theta == 1e6
    del config["rope_theta"]
    nested = {"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}}
    assert ModelConfig.from_hf(config | nested).rope_theta == 5e5
    assert ModelConfig.from_hf(config).rope_theta == 10_000.0
    heads = {"num_key_value_heads": None, "head_dim": 16}
    assert ModelConfig.from_hf(config | heads).num_key_value_heads == 4

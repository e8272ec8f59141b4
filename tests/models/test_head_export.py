"""A saved head comes back whole, the same weights give the same bytes, and a malformed folder is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models

from models.export import load_pretrained
from models.head_export import HEAD, HEAD_WEIGHTS, AnyHead, load_head, save_head
from models.heads import Classifier, SpanExtractor, Translator
from models.transformer import LanguageModel
from tests.models.tiny_training import TINY

LABELS = ("", "\u00e9 \U0001f600", "a\nb")
IDS = torch.tensor([[0, 11, 12, 13], [0, 21, 1, 1]])
MASK = torch.tensor([[True] * 4, [True, True, False, False]])


def heads() -> list[AnyHead]:
    model = LanguageModel(TINY, seed=3)
    return [
        Classifier(model, LABELS, bidirectional=False, seed=4),
        SpanExtractor(model, bidirectional=True, seed=5),
        Translator(model),
    ]


def scores(head: AnyHead) -> torch.Tensor:
    return head.model(IDS, attention_mask=MASK) if isinstance(head, Translator) else head(IDS, MASK)


def saved(head: AnyHead, folder: Path, **settings: float) -> Path:
    tokenizer = folder.parent / "tokenizer.json"
    Tokenizer(models.BPE()).save(str(tokenizer))
    save_head(head, folder, tokenizer, max_tokens=16, settings=settings)
    return folder


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_saved_head_says_the_same(tmp_path: Path, which: int) -> None:
    head = heads()[which]
    again, config = load_head(saved(head, tmp_path / "one", threshold=0.25))
    assert type(again) is type(head)
    assert not again.training
    assert torch.equal(scores(again), scores(head))
    assert (config.task, config.max_tokens, config.settings) == (head.task, 16, {"threshold": 0.25})
    if isinstance(head, Classifier):
        assert isinstance(again, Classifier)
        assert (again.labels, again.bidirectional) == (LABELS, False)
    saved(again, tmp_path / "two", threshold=0.25)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
    trunk = load_pretrained(tmp_path / "one")
    assert torch.equal(trunk(IDS), head.model(IDS))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "weather"}, "task"),
        ({"labels": ["one"]}, "two or more"),
        ({"labels": ["one", "one", "two"]}, "each once"),
        ({"labels": ["a", "b"]}, "does not hold the head's weights.*size mismatch"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"settings": {"threshold": "high"}}, "settings.threshold"),
        ({"weights": "elsewhere"}, "weights"),
    ],
)
def test_a_malformed_description_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = saved(heads()[0], tmp_path / "head") / HEAD
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=message) as caught:
        load_head(path.parent)
    assert "\n" not in str(caught.value)
    assert str(path.parent) in str(caught.value)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff\xfe", b"null"])
def test_a_description_that_is_no_json_object_is_refused(tmp_path: Path, text: bytes) -> None:
    path = saved(heads()[0], tmp_path / "head") / HEAD
    path.write_bytes(text)
    with pytest.raises(ValueError, match=r"head\.json does not describe a head"):
        load_head(path.parent)
    path.unlink()
    with pytest.raises(ValueError, match=r"head\.json does not describe a head"):
        load_head(path.parent)


def test_malformed_weights_are_refused(tmp_path: Path) -> None:
    path = saved(heads()[0], tmp_path / "head") / HEAD_WEIGHTS
    weights = {name: weight.clone() for name, weight in load_file(path).items()}
    for broken in (b"", path.read_bytes()[:-1]):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match=r"head\.safetensors does not hold the head's weights"):
            load_head(path.parent)
    for wrong in ({"weight": weights["weight"]}, {**weights, "more": weights["bias"].clone()}):
        save_file(wrong, path)
        with pytest.raises(ValueError, match=r"head\.safetensors does not hold the head's weights"):
            load_head(path.parent)
    save_file({**weights, "bias": weights["bias"] + torch.nan}, path)
    with pytest.raises(ValueError, match="not finite"):
        load_head(path.parent)
    path.unlink()
    with pytest.raises(ValueError, match=r"head\.safetensors does not hold the head's weights"):
        load_head(path.parent)

"""A model that copies is caught with exact spans; one that does not is not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from models.export import load_pretrained, load_tokenizer
from models.shards import TokenShard
from tasks.evaluation.findings import Findings
from tasks.evaluation.memorisation import MemorisationConfig, examine_memorisation
from tasks.evaluation.span_index import SpanIndex
from tasks.evaluation.windows import draw_windows
from tests.tasks.evaluation.tiny_inputs import inputs

CONFIG = MemorisationConfig(
    generations=4, generation_tokens=31, windows=12, prefix_tokens=20, suffix_tokens=8
)


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    made = inputs(tmp_path_factory.mktemp("memorisation"))
    folder, shards = made["pretraining"].path, made["tokenization"].path
    return SimpleNamespace(
        model=load_pretrained(folder),
        tokenizer=load_tokenizer(folder),
        training=TokenShard(shards, "train"),
        held_out=TokenShard(shards, "test"),
    )


def examine(subject: SimpleNamespace, config: MemorisationConfig = CONFIG) -> Findings:
    return examine_memorisation(
        subject.model, subject.tokenizer, subject.training, subject.held_out, config, seed=2
    )


def one(found: Findings, metric: str, **wanted: str) -> Any:
    [record] = [
        each
        for each in found.records
        if each.metric == metric and all(getattr(each, name) == value for name, value in wanted.items())
    ]
    return record


@pytest.fixture
def parrot(subject: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A model that knows the training text: it goes on as that does, and else cites its longest document."""
    shard = subject.training
    table = shard.documents
    row = int(np.argmax(table.ends - table.starts))
    start = int(table.starts[row]) + 1
    whole = np.asarray(shard.tokens).tolist()

    def copy(
        model: Any, prompts: Any, allowed: Any, *, max_new_tokens: int, **options: Any
    ) -> list[list[int]]:
        texts = []
        for prompt in prompts:
            places = [at for at in range(len(whole)) if whole[at : at + len(prompt)] == prompt]
            at = start if len(prompt) == 1 else places[0] + len(prompt) if places else start
            texts.append(whole[at : at + max_new_tokens])
        return texts

    monkeypatch.setattr("models.batch_generation.continue_prompts", copy)
    cited = whole[start : start + 31]
    return SimpleNamespace(**vars(subject), document=table.ids[row], cited=cited)


def test_a_parrot_is_caught_word_for_word(parrot: SimpleNamespace) -> None:
    found = examine(parrot)
    assert one(found, "longest_verbatim_span", model="model").value == 31
    for least in (10, 20):
        assert one(found, "verbatim_share", model="model", condition=f"at_least_{least}").value == 1.0
    assert not [r for r in found.records if r.condition == "at_least_50"]  # no text was so long
    [shown] = found.shown["spans"]
    assert shown["text"] == parrot.tokenizer.decode(parrot.cited)
    assert (shown["document"], shown["tokens"], shown["before"]) == (parrot.document, 31, "")


def test_what_it_is_led_to_say_is_caught_and_the_control_is_not(parrot: SimpleNamespace) -> None:
    found = examine(parrot)
    seen, unseen = (one(found, "extraction_exact", split=split) for split in ("train", "test"))
    assert seen.value == 1.0 and seen.low == pytest.approx(1 - 3 / 12)
    assert unseen.value < 0.5
    gap = one(found, "extraction_exact_difference")
    assert gap.value == seen.value - unseen.value and gap.low > 0 and gap.baseline == "held_out_text"
    assert len(found.shown["extracted"]) == 3
    assert {item.id.split("-")[0] for item in found.items} == {"train", "test"}


def test_a_model_that_learnt_nothing_remembers_nothing(subject: SimpleNamespace) -> None:
    found = examine(subject)
    assert one(found, "longest_verbatim_span", model="model").value < 10
    nothing = one(found, "verbatim_share", model="model", condition="at_least_10")
    assert (nothing.value, nothing.low, nothing.high) == (0.0, 0.0, 3 / 4)
    exact = one(found, "extraction_exact", split="train")
    assert (exact.value, exact.low, exact.high, exact.n) == (0.0, 0.0, 3 / 12, 12)
    assert found.shown["extracted"] == []
    assert one(found, "longest_verbatim_span", model="test_text").value > 0


def test_the_same_twice(subject: SimpleNamespace) -> None:
    first, second = examine(subject), examine(subject)
    assert [record.row() for record in first.records] == [record.row() for record in second.records]
    assert (first.items, first.shown) == (second.items, second.shown)


def test_windows_too_long_for_the_model_are_named(subject: SimpleNamespace) -> None:
    found = examine(subject, CONFIG.model_copy(update={"prefix_tokens": 30}))
    assert "longer than the model's context" in found.shown["extraction"]
    assert not [record for record in found.records if record.metric.startswith("extraction")]


def test_text_too_short_for_a_window_gives_none(subject: SimpleNamespace) -> None:
    assert draw_windows(subject.training, 10_000, 5, 0).tokens.shape == (0, 10_000)
    found = examine_memorisation(
        subject.model,
        subject.tokenizer,
        subject.training,
        TokenShard(subject.training.folder, "validation"),
        CONFIG.model_copy(update={"windows": 200}),
    )
    names = {record.metric for record in found.records}
    assert "extraction_exact" in names


def test_windows_lie_inside_documents(subject: SimpleNamespace) -> None:
    shard = subject.training
    table = shard.documents
    places = int(np.maximum(0, table.ends - table.starts - 6).sum())
    drawn = draw_windows(shard, 6, 10**6, 0)
    assert len(drawn.rows) == places  # all there are, each once
    assert (drawn.tokens != 0).all()
    for tokens, row in list(zip(drawn.tokens, drawn.rows, strict=True))[::97]:
        text = shard.tokens[table.starts[row] + 1 : table.ends[row]].tolist()
        assert any(text[at : at + 6] == tokens.tolist() for at in range(len(text)))


def test_a_part_of_a_split_is_indexed_in_whole_documents(subject: SimpleNamespace) -> None:
    shard = subject.training
    index = SpanIndex.of_shard(shard, 300, seed=1)
    assert 0 < len(index) <= 300
    assert len(SpanIndex.of_shard(shard)) == len(shard)
    table = shard.documents
    for number, name in enumerate(index.documents.ids):
        row = table.ids.index(name)
        own = index.tokens[index.documents.starts[number] : index.documents.ends[number]]
        assert own.tolist() == shard.tokens[table.starts[row] : table.ends[row]].tolist()

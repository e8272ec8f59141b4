"""The tokenizer loses nothing and obeys nobody; shards say where every token comes from."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tokenizers import Tokenizer

from models.answering import encode_texts
from models.shards import TokenShard
from tasks import tables, token_shards
from tasks.artifacts import Artifact, Store
from tasks.errors import ArtifactError, DataError
from tasks.token_shards import document_rows, shard_dtype, write_index, write_shard
from tasks.tokenization import SPLITS, ContinuedTokenizationConfig, TokenizationConfig, tokenize
from tasks.vocabulary import SPECIAL_TOKENS, load_tokenizer, train_tokenizer
from tests.tasks.evaluation import tiny_inputs

Damage = Callable[[Path, Path], None]
CONFIG = TokenizationConfig(vocab_size=400, verify_every=1)
SENTENCE = "the ship sailed over a calm sea while 1234 gulls circled and cried above its white sails"
WORDS = SENTENCE.split()


def story(seed: int, words: int = 40) -> str:
    generator = random.Random(seed)
    return " ".join(generator.choice(WORDS) for _ in range(words))


def cleaning(folder: Path, documents: Iterable[tuple[str, str]]) -> Artifact:
    """A cleaning artefact of (split, text) pairs."""
    fixed = {"domain": "books", "language": "en", "source": "s", "uri": "u", "licence": "l", "sha256": "0"}
    rows: list[dict[str, Any]] = [
        {"id": f"d{i}", "split": split, "text": text, "words": len(text.split()), "bytes": 0, **fixed}
        for i, (split, text) in enumerate(documents)
    ]
    tables.write(folder / "documents.parquet", rows, tables.CLEAN_DOCUMENTS)
    return Artifact(stage="cleaning", fingerprint="0", content="0", path=folder)


def mixed_documents() -> list[tuple[str, str]]:
    texts = [story(i) for i in range(30)]
    texts[3] = "héllo 🦆 wörld 日本語\r\n\t two  spaces \u00a0 and e\u0301"
    texts[7] = "<|endoftext|><|pad|> said the data, <|mask|> and <|sep|>"
    texts[11] = "x"
    return [(SPLITS[0 if i % 5 < 3 else i % 5 - 2], text) for i, text in enumerate(texts)]


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A tokenisation artefact's folder."""
    folder = tmp_path / "tokens"
    folder.mkdir()
    tokenize({"cleaning": cleaning(tmp_path / "clean", mixed_documents())}, CONFIG, folder)
    return folder


def run(tmp_path: Path, documents: list[tuple[str, str]], config: TokenizationConfig = CONFIG) -> Any:
    folder = tmp_path / "tokens"
    folder.mkdir(exist_ok=True)
    return tokenize({"cleaning": cleaning(tmp_path / "clean", documents)}, config, folder)


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    text = [story(i) for i in range(50)] + ["<|endoftext|> <|pad|><|sep|>"] * 50
    return train_tokenizer(text, vocab_size=500)


CONTROL = st.sampled_from([*SPECIAL_TOKENS, "<|", "|>", "endoftext", " ", "\n", "🏴‍☠️", "'s", "the ship"])


@settings(max_examples=300, deadline=None)
@given(text=st.one_of(st.text(), st.lists(CONTROL | st.text(max_size=3), max_size=12).map("".join)))
def test_any_text_round_trips_and_never_becomes_control(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text).ids
    assert tokenizer.decode(ids, skip_special_tokens=False) == text
    assert all(len(SPECIAL_TOKENS) <= i < tokenizer.get_vocab_size() for i in ids)


@pytest.mark.parametrize("special", [*SPECIAL_TOKENS, "<|end|>", "<|im_start|>", "</s>", "[MASK]"])
@pytest.mark.parametrize(
    "context", ["{}", "a{}b", " {} ", "{}\n", "日{}本", "{0}{0}{0}", "<|{}|>", "\u200b{}\u200b", "<{}", "{}>"]
)
def test_a_special_token_in_data_is_spelt_out(tokenizer: Tokenizer, special: str, context: str) -> None:
    """As a document, as a prompt of the network's side, and in a batch: never as id 0 to 3, and back to the letter."""
    text = context.format(special)
    batch = tokenizer.encode_batch_fast([text, "a"], add_special_tokens=False)[0].ids
    for ids in (tokenizer.encode(text).ids, batch, encode_texts(tokenizer, [text])[0].ids):
        assert min(ids) >= len(SPECIAL_TOKENS) and len(ids) > 1
        assert tokenizer.decode(list(ids), skip_special_tokens=False) == text


def test_a_token_per_byte_at_worst(tokenizer: Tokenizer) -> None:
    assert len(tokenizer.encode("\u4e00\U0001f986").ids) == 7


def test_special_tokens_keep_their_ids_and_cannot_be_learnt(tokenizer: Tokenizer) -> None:
    assert [tokenizer.token_to_id(token) for token in SPECIAL_TOKENS] == [0, 1, 2, 3]
    spoken = [token for token, i in tokenizer.get_vocab().items() if i > 3 and token in SPECIAL_TOKENS]
    assert not spoken


def test_digits_are_taken_one_by_one(tokenizer: Tokenizer) -> None:
    assert [tokenizer.decode([i]) for i in tokenizer.encode("1234").ids] == list("1234")


def test_no_token_is_longer_than_allowed() -> None:
    texts = ["-" * 500, "a" * 500] * 5
    lengths = [len(token) for token in train_tokenizer(texts, vocab_size=400, max_token_bytes=8).get_vocab()]
    assert sorted(lengths)[-len(SPECIAL_TOKENS) - 1] <= 8


def test_a_long_run_of_anything_is_encoded_soon(tokenizer: Tokenizer) -> None:
    for text in (" " * 200_000 + "x", "a" * 200_000, "\n" * 200_000, "é" * 100_000):
        assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_only_training_documents_teach_the_vocabulary(tmp_path: Path) -> None:
    documents = [("train", story(i)) for i in range(20)]
    documents += [("test", "quixotry " * 200), ("validation", "zymurgist " * 200)]
    run(tmp_path, documents)
    vocabulary = load_tokenizer(tmp_path / "tokens" / "tokenizer.json").get_vocab()
    assert any("sail" in token for token in vocabulary)
    assert not any(part in token for token in vocabulary for part in ("qu", "ix", "zy", "gist"))


def test_shards_index_tables_and_summary_agree(tmp_path: Path) -> None:
    documents = mixed_documents()
    summary = run(tmp_path, documents)
    folder = tmp_path / "tokens"
    index = json.loads((folder / "index.json").read_text())
    tokenizer = load_tokenizer(folder / "tokenizer.json")
    assert index["dtype"] == "uint16"
    assert index["vocab_size"] == summary.vocab_size == tokenizer.get_vocab_size()
    assert list(index["splits"]) == sorted(SPLITS)
    for split in SPLITS:
        texts = {f"d{i}": text for i, (where, text) in enumerate(documents) if where == split}
        tokens = np.fromfile(folder / f"{split}.bin", dtype="<u2")
        table = list(tables.iterate(folder / f"{split}.documents.parquet"))
        assert [row["id"] for row in table] == list(texts)
        assert [row["bytes"] for row in table] == [len(text.encode()) for text in texts.values()]
        assert table[0]["start"] == 0 and table[-1]["end"] == len(tokens)
        for row, after in zip(table, [*table[1:], {"start": len(tokens)}], strict=True):
            assert row["end"] == after["start"]
            assert tokens[row["start"]] == 0
            ids = tokens[row["start"] + 1 : row["end"]]
            assert (ids > 3).all()
            assert tokenizer.decode(ids.tolist()) == texts[row["id"]]
        expected = {
            "tokens": len(tokens),
            "documents": len(texts),
            "bytes": sum(row["bytes"] for row in table),
        }
        assert {name: index["splits"][split][name] for name in expected} == expected
        found = summary.splits[split]
        assert {name: getattr(found, name) for name in expected} == expected
        assert found.longest_document == max(row["end"] - row["start"] for row in table)
        assert found.bytes_per_token == pytest.approx(
            expected["bytes"] / (len(tokens) - len(texts)), abs=1e-6
        )


def test_the_network_side_reads_what_is_written(made: Path) -> None:
    for split in SPLITS:
        shard = TokenShard(made, split)
        assert len(shard) == len(shard.tokens) == shard.documents.ends[-1]


def test_every_token_knows_its_document(made: Path) -> None:
    shard = TokenShard(made, "train")
    expected = np.cumsum(np.asarray(shard.tokens) == 0) - 1
    assert np.array_equal(document_rows(shard.documents, np.arange(len(shard))), expected)
    assert document_rows(shard.documents, [[0, 1], [2, len(shard) - 1]]).shape == (2, 2)
    for outside in (-1, len(shard)):
        with pytest.raises(IndexError):
            document_rows(shard.documents, outside)


def test_unused_vocabulary_counts_what_training_text_never_uses(tmp_path: Path) -> None:
    summary = run(tmp_path, [("train", "ab" * 3)], TokenizationConfig(vocab_size=260))
    assert summary.unused_vocabulary == pytest.approx(254 / 256, abs=1e-6)


def test_order_of_batches_does_not_matter(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_shards, "_BATCH_CHARACTERS", 50)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(5)))
    again = tmp_path / "again"
    again.mkdir()
    clean = Artifact(stage="cleaning", fingerprint="0", content="0", path=tmp_path / "clean")
    tokenize({"cleaning": clean}, CONFIG, again)
    assert digests(again) == digests(made)


def test_two_processes_write_the_same_bytes(made: Path, tmp_path: Path, root: Path) -> None:
    again = tmp_path / "again"
    again.mkdir()
    code = (
        "import sys; from pathlib import Path; from tasks.artifacts import Artifact;"
        "from tasks.tokenization import TokenizationConfig, tokenize;"
        "clean = Artifact(stage='cleaning', fingerprint='0', content='0', path=Path(sys.argv[1]));"
        "tokenize({'cleaning': clean}, TokenizationConfig(vocab_size=400, verify_every=1), Path(sys.argv[2]))"
    )
    environment = os.environ | {
        "PYTHONHASHSEED": "7",
        "PYTHONPATH": str(root),
        "TOKENIZERS_PARALLELISM": "true",
        "RAYON_NUM_THREADS": "3",
    }
    command = [sys.executable, "-c", code, str(tmp_path / "clean"), str(again)]
    subprocess.run(command, check=True, env=environment, cwd=root)
    assert digests(again) == digests(made)


def test_a_small_corpus_gives_a_small_vocabulary_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    summary = run(tmp_path, [("train", "a")], TokenizationConfig(vocab_size=8192))
    assert (summary.vocab_size, summary.requested_vocab_size) == (260, 8192)
    assert "260 vocabulary entries of 8192" in caplog.text


def test_empty_splits_and_documents_are_kept(tmp_path: Path) -> None:
    summary = run(tmp_path, [("train", story(1)), ("train", ""), ("test", "")])
    assert (tmp_path / "tokens" / "validation.bin").stat().st_size == 0
    assert summary.splits["validation"].bytes_per_token is None
    assert summary.splits["train"].documents == 2
    assert summary.splits["test"].tokens == 1
    assert len(TokenShard(tmp_path / "tokens", "validation").documents) == 0


@pytest.mark.parametrize("documents", [[], [("test", "held out")], [("train", "")]])
def test_nothing_to_learn_from_is_an_error(tmp_path: Path, documents: list[tuple[str, str]]) -> None:
    with pytest.raises(DataError, match="training split has no text"):
        run(tmp_path, documents)


def test_a_document_in_no_known_split_is_not_lost_silently(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'dev'"):
        run(tmp_path, [("train", story(1)), ("dev", story(2))])


def test_the_type_of_the_ids_follows_the_vocabulary() -> None:
    assert shard_dtype(65_536) == np.uint16
    assert shard_dtype(65_537) == np.uint32


@pytest.mark.parametrize(("size", "dtype", "width"), [(65_536, "uint16", 2), (65_537, "uint32", 4)])
def test_no_id_overflows_its_type(size: int, dtype: str, width: int, tmp_path: Path) -> None:
    """The last id of a vocabulary that just fits two bytes, and of one that does not: read as they were written."""
    ids = [4, size - 1, 5]
    rows = [{"id": "d0", "text": "ab"}]
    tally = write_shard(tmp_path, "train", rows, Lossy(ids, "ab", size), 1)  # type: ignore[arg-type]
    write_index(tmp_path, size, {"train": tally})
    assert json.loads((tmp_path / "index.json").read_text())["dtype"] == dtype
    assert (tmp_path / "train.bin").stat().st_size == width * 4
    assert TokenShard(tmp_path, "train").tokens.tolist() == [0, *ids]


def test_a_vocabulary_smaller_than_the_bytes_is_refused() -> None:
    with pytest.raises(ValidationError):
        TokenizationConfig(vocab_size=259)


class Lossy:
    """A tokenizer that answers with what a test wants."""

    def __init__(self, ids: list[int], text: str, size: int = 300) -> None:
        self.ids, self.text, self.size = ids, text, size

    def get_vocab_size(self) -> int:
        return self.size

    def encode_batch_fast(self, texts: list[str], add_special_tokens: bool) -> list[Lossy]:
        return [self for _ in texts]

    def decode(self, ids: list[int], skip_special_tokens: bool) -> str:
        return self.text


@pytest.mark.parametrize(
    ("ids", "text", "problem"),
    [
        ([5, 300], "ab", "no text may have"),
        ([5, 0], "ab", "no text may have"),
        ([5, 6], "aX", "not the same text"),
    ],
)
def test_a_tokenizer_that_errs_is_found_out(tmp_path: Path, ids: list[int], text: str, problem: str) -> None:
    with pytest.raises(DataError, match=f"document 'd0': .*{problem}"):
        write_shard(tmp_path, "train", [{"id": "d0", "text": "ab"}], Lossy(ids, text), 1)  # type: ignore[arg-type]


def test_a_truncated_or_foreign_tokenizer_is_refused(made: Path, tmp_path: Path) -> None:
    whole = (made / "tokenizer.json").read_text()
    broken = tmp_path / "tokenizer.json"
    with pytest.raises(ArtifactError, match="cannot be read as a tokenizer"):
        load_tokenizer(broken)
    broken.write_text(whole[: len(whole) // 2])
    with pytest.raises(ArtifactError, match="cannot be read as a tokenizer"):
        load_tokenizer(broken)
    broken.write_text(whole.replace("<|pad|>", "<|end|>"))
    with pytest.raises(ArtifactError, match="special tokens are not"):
        load_tokenizer(broken)


def _cut(path: Path, other: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _swap(path: Path, other: Path) -> None:
    shutil.copy(other, path)


def _drop(path: Path, other: Path) -> None:
    path.unlink()


def _add(path: Path, other: Path) -> None:
    shutil.copy(path, path.with_name(f"extra-{path.name}"))


@pytest.mark.parametrize("damage", [_cut, _swap, _drop, _add])
@pytest.mark.parametrize("name", ["tokenizer.json", "train.bin", "train.documents.parquet", "index.json"])
def test_files_of_another_run_are_not_used(
    name: str, damage: Damage, two_runs: tuple[Store, Artifact, Artifact]
) -> None:
    """Every file of an artefact cut off, exchanged with that of another run, lost, or with one more beside it."""
    store, made, other = two_runs
    kept = store.root.parent / "kept"
    shutil.copytree(made.path, kept)
    try:
        damage(made.path / name, other.path / name)
        with pytest.raises(ArtifactError) as caught:
            store.find(made.stage, "tiny", made.fingerprint)
        assert name in str(caught.value) and "\n" not in str(caught.value)
    finally:
        shutil.rmtree(made.path)
        kept.rename(made.path)
    assert store.find(made.stage, "tiny", made.fingerprint) == made


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Artifact, Artifact]:
    """A store with the tokens of two corpora."""
    store = Store(tmp_path_factory.mktemp("runs"))
    corpora = [tiny_inputs.documents(test, train=30 + test) for test in (3, 5)]
    first, second = (tiny_inputs.tokens(store, tiny_inputs.clean(store, rows)) for rows in corpora)
    return store, first, second


def test_a_loaded_tokenizer_takes_control_text_as_text(made: Path) -> None:
    tokenizer = load_tokenizer(made / "tokenizer.json")
    assert 0 not in tokenizer.encode("<|endoftext|>").ids


def _continued(tmp_path: Path, new: int, replay: float) -> tuple[Path, set[str]]:
    """Tokens for a champion of 40 known documents, when ``new`` ones have come; and what it is to read on."""
    known = [("train", story(i)) for i in range(40)] + [("test", story(90)), ("validation", story(91))]
    former = tmp_path / "former"
    former.mkdir()
    tokenize({"cleaning": cleaning(tmp_path / "clean", known)}, CONFIG, former)
    grown = cleaning(tmp_path / "grown", [*known, *(("train", story(200 + i)) for i in range(new))])
    folder = tmp_path / "tokens"
    folder.mkdir()
    inputs = {
        "cleaning": grown,
        "former": Artifact(stage="tokenization", fingerprint="0", content="0", path=former),
    }
    tokenize(inputs, ContinuedTokenizationConfig(**CONFIG.model_dump(), replay=replay), folder)
    assert (folder / "tokenizer.json").read_bytes() == (former / "tokenizer.json").read_bytes()
    return folder, set(TokenShard(folder, "continuation").documents.ids)


def test_a_champion_reads_what_is_new_among_as_much_of_what_it_knows(tmp_path: Path) -> None:
    folder, chosen = _continued(tmp_path, new=10, replay=1.0)
    new = {f"d{i}" for i in range(42, 52)}
    assert new <= chosen
    assert 8 <= len(chosen - new) <= 12
    assert len(TokenShard(folder, "train").documents.ids) == 50  # what n-grams learn from: all of it


def test_a_single_new_document_does_not_come_alone(tmp_path: Path) -> None:
    _, chosen = _continued(tmp_path, new=1, replay=0.0)
    assert "d42" in chosen and len(chosen) == 1 + 2  # a twentieth of forty


def test_without_anything_new_all_is_read_again(tmp_path: Path) -> None:
    _, chosen = _continued(tmp_path, new=0, replay=1.0)
    assert chosen == {f"d{i}" for i in range(40)}


def test_documents_held_out_stay_held_out_of_a_continuation(tmp_path: Path) -> None:
    _, chosen = _continued(tmp_path, new=5, replay=100.0)
    assert not chosen & {"d40", "d41"}

"""Names go where a model of the user's own finds them, for good, and nothing else changes without one."""

from __future__ import annotations

import json
import random
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tasks import tables
from tasks.cleaning.clean import clean
from tasks.cleaning.config import CleaningConfig
from tasks.cleaning.language import identify
from tasks.cleaning.names import RULE, Names, NamesConfig, observe
from tasks.cleaning.pii import KINDS
from tasks.cleaning.pool import Prepared
from tasks.errors import ConfigError

PEOPLE = ("Amara", "Bruno", "Chidi", "Dagny", "Okafor", "Lindqvist")
PLACES = ("Lagos", "Tampere")
WORDS = ("the", "boat", "of", "was", "seen", "in", "by", "near", "and", "letters", "came", "from", "rain")
LABELS = {0: "O", 1: "B-PER", 2: "B-LOC"}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """So small a model is only slowed down by threads that wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT that knows six names and two places by heart; made and taught here."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertForTokenClassification

    folder = tmp_path_factory.mktemp("names") / "model"
    vocabulary = {
        word: at for at, word in enumerate(("[PAD]", "[UNK]", "[CLS]", "[SEP]", *PEOPLE, *PLACES, *WORDS))
    }
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = BertConfig(vocab_size=len(vocabulary), max_position_embeddings=32, id2label=LABELS, **shape)
    taught = BertForTokenClassification(config)
    optimiser = torch.optim.Adam(taught.parameters(), lr=0.01)
    drawn = random.Random(0)
    labels = {vocabulary[word]: 1 for word in PEOPLE} | {vocabulary[word]: 2 for word in PLACES}
    for _ in range(200):
        rows = [[2, *drawn.choices(range(1, len(vocabulary)), k=24), 3] for _ in range(8)]
        target = torch.tensor([[labels.get(word, 0) for word in row] for row in rows])
        loss = taught(input_ids=torch.tensor(rows), labels=target).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    taught.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def prepared(text: str) -> Prepared:
    return Prepared(text, identify(text), {"email": 1})


def without(text: str, model: Path | None, **changes: Any) -> Prepared:
    config = NamesConfig(model=None if model is None else str(model), **changes)
    return Names(config, KINDS).without(prepared(text))


def test_without_a_model_names_stay_and_nothing_is_loaded() -> None:
    document = prepared("Amara Okafor was seen")
    assert Names(NamesConfig(), KINDS).without(document) is document
    assert observe(CleaningConfig()) == {}


def test_names_go_whole_and_the_change_is_told(model: Path) -> None:
    found = without("the boat of Amara Okafor, was seen by Bruno near Lagos", model)
    assert found.text == "the boat of [PERSON], was seen by [PERSON] near Lagos"
    assert found.masked == {"email": 1, "person": 2}
    [change] = found.changes
    assert (change.rule, change.value) == (RULE, 2)
    assert change.bytes_before - change.bytes_after == len("Amara OkaforBruno") - len("[PERSON]") * 2


def test_other_labels_go_only_where_they_are_asked_for(model: Path) -> None:
    found = without("Bruno came from Lagos", model, placeholders={"LOC": "PLACE"})
    assert found.text == "Bruno came from [PLACE]"
    with pytest.raises(ConfigError, match=r"none of ORG is a label of the model; it knows LOC, O, PER"):
        without("x", model, placeholders={"ORG": "FIRM"})
    assert without("Bruno came", model, threshold=0.999999).text == "Bruno came"


def test_a_second_pass_finds_nothing_and_long_texts_are_read_to_their_end(model: Path) -> None:
    drawn = random.Random(1)
    for length in (1, 5, 31, 200):
        words = drawn.choices([*PEOPLE, *PLACES, *WORDS, "12", "[EMAIL]"], k=length)
        text = " ".join(words)
        once = without(text, model)
        assert not set(PEOPLE) & set(once.text.split()), once.text
        assert without(once.text, model) == prepared(once.text)
        assert set(PLACES) & set(words) <= set(once.text.split())


class Stub:
    """A tagger that finds what `pattern` does, placeholders aside."""

    def __init__(self, pattern: str) -> None:
        self.pattern = re.compile(pattern)

    def find(self, text: str) -> Iterator[tuple[int, int, str]]:
        taken = [range(*match.span()) for match in re.finditer(r"\[[A-Z-]+\]", text)]
        for match in self.pattern.finditer(text):
            if not any(match.start() in place for place in taken):
                yield *match.span(), "PERSON"
                return


def test_what_a_name_hid_is_found_too() -> None:
    """An address that a letter stood before is one only once that letter is gone."""
    text, counts = Names(NamesConfig(), KINDS)._replaced("seen Amara8.8.8.8 there", Stub("Amara"))
    assert text == "seen [PERSON][IP] there"
    assert counts == {"person": 1, "ip": 1}


def test_a_line_that_lays_open_one_name_after_the_other_goes_as_a_whole() -> None:
    text, counts = Names(NamesConfig(), KINDS)._replaced(
        "the boat\n" + "a" * 500 + "\nthe rain", Stub("a(?=a*\\n)")
    )
    assert text.startswith("the boat\n[PERSON]") and text.endswith("\nthe rain")
    assert counts["person"] < 20


def test_the_fingerprint_follows_the_model(model: Path, tmp_path: Path) -> None:
    copy = tmp_path / "model"
    shutil.copytree(model, copy)
    config = CleaningConfig(names=NamesConfig(model=str(copy)))
    before = observe(config)
    assert set(before) == {"names/config.json", "names/model.safetensors", "names/tokenizer.json"}
    with (copy / "tokenizer.json").open("a") as file:
        file.write("\n")
    assert observe(config) != before


def test_the_stage_replaces_them_and_says_so(
    model: Path, tmp_path: Path, prose: Any, document: Any, ingestion: Any
) -> None:
    rows = [document(f"good-{n:02}", prose(n, 120)) for n in range(20)]
    rows.append(document("told", f"{prose(70, 60)} It was Amara Okafor and Bruno, by the boat."))
    config = CleaningConfig(names=NamesConfig(model=str(model)))
    summary = clean({"ingestion": ingestion(rows)}, config, tmp_path / "out")
    kept = {row["id"]: row for row in tables.iterate(tmp_path / "out" / "documents.parquet")}
    assert kept["told"]["text"].endswith("It was [PERSON] and [PERSON], by the boat.")
    assert summary.personal_data == {"articles": {"records": 1, "person": 2}}
    assert summary.documents.changes[RULE] == 1
    again = ingestion([{**rows[0], **{n: row[n] for n in ("id", "text")}} for row in kept.values()])
    clean({"ingestion": again}, config, tmp_path / "again")
    texts = {row["id"]: row["text"] for row in tables.iterate(tmp_path / "again" / "documents.parquet")}
    assert texts == {name: row["text"] for name, row in kept.items()}


@pytest.mark.parametrize("missing", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_folder_that_lacks_something_is_named(model: Path, tmp_path: Path, missing: str) -> None:
    copy = tmp_path / "model"
    shutil.copytree(model, copy)
    (copy / missing).unlink()
    with pytest.raises(ConfigError, match=rf"cleaning\.names\.model: .*has no {missing}; give the folder"):
        observe(CleaningConfig(names=NamesConfig(model=str(copy))))


def test_pickled_weights_and_code_of_its_own_are_not_loaded(model: Path, tmp_path: Path) -> None:
    copy = tmp_path / "model"
    shutil.copytree(model, copy)
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(ConfigError, match="cannot be loaded"):
        without("x", copy)
    shutil.copytree(model, tmp_path / "other")
    settings = json.loads((tmp_path / "other" / "config.json").read_text())
    settings |= {"auto_map": {"AutoModelForTokenClassification": "own.Own", "AutoConfig": "own.OwnConfig"}}
    settings["model_type"] = "own"
    (tmp_path / "other" / "config.json").write_text(json.dumps(settings))
    canary = tmp_path / "canary"
    (tmp_path / "other" / "own.py").write_text(f"open({str(canary)!r}, 'w')\n")
    with pytest.raises(ConfigError, match="cannot be loaded"):
        without("x", tmp_path / "other")
    assert not canary.exists()

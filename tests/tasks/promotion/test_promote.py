"""The promotion stage on evaluations of our making and on real, untrained models."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from models.export import load_pretrained
from models.scoring import evaluate_documents
from models.shards import TokenShard
from tasks.artifacts import Artifact, Store
from tasks.evaluation.findings import Findings, Item
from tasks.promotion import rescoring
from tasks.promotion.compare import Contestant, Rival
from tasks.promotion.config import PromotionConfig
from tasks.promotion.decision import Decision
from tasks.promotion.promote import promote, read_decision
from tests.tasks.evaluation import tiny_inputs
from tests.tasks.promotion import contestants
from tests.tasks.promotion.contestants import against, answers, candidate

CONFIG = PromotionConfig(bootstrap_samples=500)
GOOD = answers("sentiment", "correct", {"model": 0.8, "majority": 0.5})
FLIPPED = answers("sentiment", "correct", {"model": 0.15, "majority": 0.5})


def run(inputs: dict[str, Artifact], folder: Path, config: PromotionConfig = CONFIG) -> Decision:
    folder.mkdir()
    summary = promote(inputs, config, folder)
    decision = read_decision(folder)
    assert summary.verdict == decision.verdict
    assert sorted(path.name for path in folder.iterdir()) == ["decision.html", "decision.json", "decision.md"]
    return decision


def verdicts(decision: Decision) -> dict[str, str]:
    return {reason.gate: reason.verdict for reason in decision.reasons}


def test_a_first_model_must_beat_the_baselines(tmp_path: Path) -> None:
    good = run(candidate(tmp_path, items=GOOD), tmp_path / "good")
    assert good.verdict == "promote"
    assert verdicts(good) == {
        "language_modelling.bits_per_byte over unigram": "pass",
        "sentiment.correct over majority": "pass",
    }
    worse = candidate(tmp_path, bits={"model": 5.0, "unigram": 4.0}, seed=1)
    assert run(worse, tmp_path / "worse").verdict == "refuse"
    same = candidate(tmp_path, bits={"model": 4.0, "unigram": 4.0}, seed=2)
    assert run(same, tmp_path / "same").verdict == "inconclusive"


def test_a_baseline_that_was_not_measured_is_no_pass(tmp_path: Path) -> None:
    decision = run(candidate(tmp_path, bits={"model": 2.0}), tmp_path / "out")
    assert decision.verdict == "inconclusive" and "no unigram" in decision.reasons[0].sentence


def test_a_sentiment_model_taught_on_flipped_labels_is_refused(tmp_path: Path) -> None:
    champion = candidate(tmp_path, items=GOOD)
    planted = candidate(tmp_path, items=FLIPPED, cleaning=champion["cleaning"], seed=1)
    decision = run(against(planted, champion), tmp_path / "out")
    assert decision.verdict == "refuse"
    assert verdicts(decision) == {"language_modelling.bits_per_byte": "pass", "sentiment.correct": "fail"}
    assert "worse by more than the margin" in (tmp_path / "out" / "decision.md").read_text().replace("\\", "")
    first = run(planted, tmp_path / "first")
    assert first.verdict == "refuse"


def test_the_same_examination_is_paired_from_the_kept_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rescoring, "document_nats", None)
    champion = candidate(tmp_path, items=GOOD)
    other = candidate(
        tmp_path, items=GOOD, cleaning=champion["cleaning"], seed=1, bits={"model": 1.9, "unigram": 4.0}
    )
    decision = run(against(other, champion), tmp_path / "out")
    assert decision.verdict == "promote"
    assert decision.reasons[0].value == pytest.approx(-0.1, abs=0.01)


@pytest.mark.parametrize("difference", ["code", "data"])
def test_otherwise_the_champion_reads_the_challengers_documents_with_its_own_tokenizer(
    difference: str, tmp_path: Path
) -> None:
    store = Store(tmp_path)
    challenger = candidate(tmp_path)
    if difference == "code":
        cleaning = challenger["cleaning"]
        champion = candidate(tmp_path, cleaning=cleaning, seed=1, code={"a": "2"})
    else:  # another corpus, so another tokenizer
        champion = candidate(tmp_path, cleaning=contestants.corpus(store, test=4, train=3), seed=1)
        assert champion["tokenization"].content != challenger["tokenization"].content
    (tmp_path / "scratch").mkdir()
    rival = Rival(champion, Contestant(challenger), 0, tmp_path / "scratch")
    found = rival.on_same("language_modelling", "bits_per_byte")
    learnt = {f"train-{n}" for n in range(3)}
    assert len(found) == 30 and not learnt & found.keys()
    assert not list((tmp_path / "scratch").iterdir())
    if difference == "code":
        shard = TokenShard(challenger["tokenization"].path, "test")
        network = load_pretrained(champion["pretraining"].path)
        size = tiny_inputs.CONTEXT
        exact = evaluate_documents(network, shard, context_length=size, stride=size // 2)
        for name, nats, length in zip(exact.ids, exact.nats, exact.bytes, strict=True):
            assert found[name].part == pytest.approx(nats / math.log(2), rel=1e-5)
            assert found[name].size == length


def test_documents_that_the_champion_was_trained_on_are_left_out(tmp_path: Path) -> None:
    store = Store(tmp_path)
    challenger = candidate(tmp_path)
    rows = tiny_inputs.documents(30)
    for row in rows:
        if row["id"] in ("test-3", "test-4"):
            row["split"] = "train"
    champion = candidate(tmp_path, cleaning=tiny_inputs.clean(store, rows[:-1]), seed=1)
    (tmp_path / "scratch").mkdir()
    rival = Rival(champion, Contestant(challenger), 0, tmp_path / "scratch")
    found = rival.on_same("language_modelling", "bits_per_byte")
    assert set(found) == {f"test-{n}" for n in range(30)} - {"test-3", "test-4"}


def test_a_task_is_examined_anew_on_the_challengers_items(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def examine(model: Artifact, cleaning: Artifact, *, samples: int, seed: int) -> Findings:
        asked.append((model.stage, cleaning.content))
        items = answers("sentiment", "correct", {"model": 0.8, "majority": 0.1})
        return Findings(items=[*items, Item("sentiment", "correct", "unknown", "", "model", 1.0)])

    monkeypatch.setattr(rescoring, "import_module", lambda _: type("M", (), {"examine_sentiment": examine}))
    challenger = candidate(tmp_path, items=GOOD)
    champion = candidate(tmp_path, items=FLIPPED, cleaning=challenger["cleaning"], seed=1, code={"a": "2"})
    head = champion["pretraining"].model_copy(update={"stage": "finetuning-sentiment"})
    decision = run(against(challenger, {**champion, "finetuning-sentiment": head}), tmp_path / "out")
    assert asked == [("finetuning-sentiment", challenger["cleaning"].content)]
    [reason] = [reason for reason in decision.reasons if reason.gate == "sentiment.correct"]
    assert reason.n == 600 and reason.value == pytest.approx(0.0, abs=1e-6)


def test_a_measure_that_only_the_champion_has_is_inconclusive(tmp_path: Path) -> None:
    champion = candidate(tmp_path, items=GOOD)
    without = candidate(tmp_path, cleaning=champion["cleaning"], seed=1)
    decision = run(against(without, champion), tmp_path / "out")
    assert decision.verdict == "inconclusive"
    assert verdicts(decision)["sentiment.correct"] == "inconclusive"


def test_a_task_that_the_champion_cannot_do_is_held_against_its_bar(tmp_path: Path) -> None:
    champion = candidate(tmp_path)
    more = candidate(tmp_path, items=GOOD, cleaning=champion["cleaning"], seed=1)
    decision = run(against(more, champion), tmp_path / "out")
    assert verdicts(decision)["sentiment.correct over majority"] == "pass"
    assert decision.verdict == "promote"


def test_nothing_in_common_is_inconclusive(tmp_path: Path) -> None:
    champion, challenger = candidate(tmp_path), candidate(tmp_path, seed=1)
    nothing = PromotionConfig(margins=CONFIG.margins[2:3], bars=())
    assert run(against(challenger, champion), tmp_path / "out", nothing).verdict == "inconclusive"


def test_a_rerun_gives_the_same_bytes(tmp_path: Path) -> None:
    champion = candidate(tmp_path, items=GOOD)
    other = candidate(tmp_path, items=GOOD, cleaning=champion["cleaning"], seed=1, code={"a": "2"})
    for name in ("one", "two"):
        run(against(other, champion), tmp_path / name)
    for path in sorted((tmp_path / "one").iterdir()):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
        assert str(tmp_path) not in path.read_text()


def test_the_page_needs_nothing_but_itself(tmp_path: Path) -> None:
    bars = json.loads(CONFIG.model_dump_json())["bars"][:1]
    decision = run(
        candidate(tmp_path, bits={"model": 2.0, "unigram": 4.0}),
        tmp_path / "out",
        PromotionConfig(bars=tuple(bars)),
    )
    page = (tmp_path / "out" / "decision.html").read_text()
    assert decision.verdict in page and "<script" not in page and "http" not in page

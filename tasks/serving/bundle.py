"""The folder that a registered model carries: the model folders of its artefacts, weights as safetensors."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from tasks.artifacts import Artifact

CODE = Path(__file__).with_name("service.py")
PROJECT = Path(__file__).resolve().parent.parent.parent
CODE_PATHS = (PROJECT / "models",)
HEADS = {
    "finetuning-sentiment": "sentiment",
    "finetuning-question-answering": "question-answering",
    "finetuning-translation": "translation",
}
# Of an artefact, what it takes to use the model; curves and records stay where they are.
_USED = (
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "head.json",
    "head.safetensors",
)
_NEEDED = ("mlflow", "numpy", "pandas", "pyarrow", "pydantic", "safetensors", "tokenizers", "torch")


def served(artifacts: Mapping[str, Artifact]) -> dict[str, Artifact]:
    """Which of a candidate's artefacts are served, by stage: what makes two candidates the same model."""
    wanted = ("pretraining", *HEADS)
    return {stage: artifacts[stage] for stage in wanted if stage in artifacts}


def write_bundle(artifacts: Mapping[str, Artifact], folder: Path) -> None:
    """Copy the model folders of a candidate into an empty folder."""
    for stage, artifact in served(artifacts).items():
        target = folder / HEADS.get(stage, stage)
        target.mkdir(parents=True)
        for name in _USED:
            if (artifact.path / name).is_file():
                shutil.copyfile(artifact.path / name, target / name)


def requirements() -> list[str]:
    """What serving needs installed, in the versions at hand; a local build's suffix is left out."""
    return [f"{name}=={version(name).partition('+')[0]}" for name in _NEEDED]

"""Presets: each a function that returns one complete configuration. A preset may start from another and change it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

from flows.settings import RunConfig, resolve
from tasks.errors import ConfigError


def smoke() -> RunConfig:
    """Text that Unveil writes itself, a model that trains in seconds: tests, CI, a first look. Learns little."""
    from tasks.sources.catalogue import SMOKE_LABELLED, SMOKE_PROBES, SMOKE_SOURCES

    return RunConfig.model_validate(
        {
            "ingestion": {"sources": SMOKE_SOURCES, "labelled": SMOKE_LABELLED, "probes": SMOKE_PROBES},
            "cleaning": {"splits": {"validation": 0.08, "test": 0.1}},
            "tokenization": {"vocab_size": 1024},
            "embeddings": {"dimensions": 32, "epochs": 15, "subsample": 1e-3},
            "pretraining": {
                "architecture": {
                    "hidden_size": 64,
                    "intermediate_size": 160,
                    "num_hidden_layers": 2,
                    "num_attention_heads": 4,
                    "num_key_value_heads": 2,
                    "head_dim": 16,
                },
                "training": {
                    "steps": 60,
                    "batch_size": 8,
                    "context_length": 64,
                    "compile": "off",
                    "checkpoint_every": 30,
                    "validate_every": 30,
                    "validation_tokens": 4_096,
                },
            },
            "finetuning": {
                "sentiment": {"training": {"steps": 12, "batch_size": 16, "max_tokens": 32}},
                "question_answering": {
                    "training": {"steps": 12, "batch_size": 8, "max_tokens": 64},
                    "doc_stride": 40,
                    "max_answer_tokens": 32,
                },
                "translation": {"training": {"steps": 12, "batch_size": 8, "max_tokens": 64}},
            },
            "evaluation": {
                "max_new_tokens": 24,
                "bootstrap_samples": 200,
                "toxicity": {"samples_per_prompt": 2, "maximum_of": 2, "reference_windows": 50},
                "memorisation": {"generations": 4, "windows": 20},
                "explanation": {"texts": 2, "questions": 1},
            },
            "reporting": {},
            # A dozen steps teach no task, so only the language model has to show something.
            "promotion": {
                "registered_model": "unveil-smoke",
                "bootstrap_samples": 500,
                "bars": [
                    {"suite": suite, "metric": metric, "baseline": "unigram", "lower_is_better": True}
                    for suite, metric in (
                        ("language_modelling", "bits_per_byte"),
                        ("language_modelling", "masked_loss"),
                    )
                ],
            },
            "retraining": {"steps": 20},
        }
    )


def demo() -> RunConfig:
    """Real text and real learning in a few minutes on two cores; what `make run` does."""
    from tasks.sources.catalogue import DEMO_LABELLED, DEMO_PROBES, DEMO_SOURCES

    return RunConfig.model_validate(
        {
            "ingestion": {"sources": DEMO_SOURCES, "labelled": DEMO_LABELLED, "probes": DEMO_PROBES},
            # One in ten held out: with fewer, chance decides which model looks better.
            "cleaning": {"splits": {"validation": 0.04, "test": 0.1}},
            "tokenization": {"vocab_size": 2048},
            "embeddings": {"epochs": 3},
            "pretraining": {
                "architecture": {
                    "hidden_size": 128,
                    "intermediate_size": 384,
                    "num_hidden_layers": 4,
                    "num_attention_heads": 2,
                    "num_key_value_heads": 1,
                    "head_dim": 64,
                },
                "training": {
                    "steps": 1_500,
                    "batch_size": 8,
                    "context_length": 256,
                    "learning_rate": 0.03,
                    "adam_learning_rate": 0.01,
                    "checkpoint_every": 300,
                    "validate_every": 300,
                },
            },
            "finetuning": {
                "sentiment": {
                    "training": {
                        "steps": 350,
                        "batch_size": 32,
                        "adam_learning_rate": 0.003,
                    }
                },
                "question_answering": {
                    "training": {
                        "steps": 150,
                        "batch_size": 32,
                        "max_tokens": 128,
                        "adam_learning_rate": 0.003,
                    }
                },
                "translation": {
                    "training": {
                        "steps": 800,
                        "batch_size": 16,
                        "max_tokens": 128,
                        "optimiser": "muon",
                        "learning_rate": 0.03,
                        "adam_learning_rate": 0.015,
                        "validate_every": 400,
                    }
                },
            },
            "evaluation": {"explanation": {"texts": 20, "questions": 5}},
            "reporting": {},
            "promotion": {"registered_model": "unveil-demo"},
        }
    )


def small() -> RunConfig:
    """All of the demo's text, a larger model and an evening's patience."""
    from tasks.sources.catalogue import WHOLE_SOURCES

    return _changed(
        demo(),
        {
            "ingestion": {"sources": WHOLE_SOURCES},
            "cleaning": {"splits": {"validation": 0.03, "test": 0.05}},
            "tokenization": {"vocab_size": 4096},
            "pretraining": {
                "architecture": {
                    "hidden_size": 256,
                    "intermediate_size": 704,
                    "num_hidden_layers": 6,
                    "num_attention_heads": 4,
                    "num_key_value_heads": 2,
                },
                "training": {
                    "steps": 5_000,
                    "learning_rate": 0.02,
                    "adam_learning_rate": 0.003,
                    "checkpoint_every": 250,
                    "validate_every": 250,
                },
            },
            "finetuning": {
                "sentiment": {"training": {"steps": 2_000}},
                "question_answering": {"training": {"steps": 800}},
                "translation": {"training": {"steps": 2_400}},
            },
            "promotion": {"registered_model": "unveil-small"},
            "retraining": {"steps": 1_000},
        },
    )


def base() -> RunConfig:
    """124M parameters on one GPU and up. Bring text: the demo's is a thousandth of what such a model can use."""
    return _changed(
        small(),
        {
            "tokenization": {"vocab_size": 50_304},
            "pretraining": {
                "architecture": {
                    "hidden_size": 768,
                    "intermediate_size": 2_048,
                    "num_hidden_layers": 12,
                    "num_attention_heads": 12,
                    "num_key_value_heads": 12,
                    "head_dim": 64,
                },
                "training": {
                    "steps": 20_000,
                    "batch_size": 512,
                    "gradient_accumulation": 16,
                    "context_length": 1_024,
                    "checkpoint_every": 500,
                    "validate_every": 500,
                    "validation_tokens": 1_048_576,
                },
            },
            "promotion": {"registered_model": "unveil-base"},
        },
    )


# A type, so that Prefect's page offers the names in a list.
Preset = Literal["smoke", "demo", "small", "base"]
NAMES: tuple[str, ...] = get_args(Preset)
_PRESETS: dict[str, Callable[[], RunConfig]] = {"smoke": smoke, "demo": demo, "small": small, "base": base}


def named(name: str) -> RunConfig:
    """The preset of this name.

    Raises:
        ConfigError: there is none.
    """
    try:
        preset = _PRESETS[name]
    except KeyError as error:
        raise ConfigError(
            f"unknown preset {name!r}", where="preset", remedy=f"one of {', '.join(NAMES)}"
        ) from error
    return preset()


def _changed(base: RunConfig, changes: dict[str, Any]) -> RunConfig:
    return resolve(base, changes)

"""Presets: complete, valid, and of the promised size."""

from __future__ import annotations

import pytest

from flows import presets
from flows.settings import RunConfig, resolve
from tasks.errors import ConfigError


@pytest.mark.parametrize("name", presets.NAMES)
def test_a_preset_is_a_complete_configuration_that_survives_json(name: str) -> None:
    config = presets.named(name)
    assert RunConfig.model_validate_json(config.model_dump_json()) == config
    assert resolve(config, {}) == config


def test_an_unknown_preset_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"tiny.*smoke, demo, small, base"):
        presets.named("tiny")


def test_base_has_124_million_parameters() -> None:
    config = presets.base()
    shape = config.pretraining.architecture.build(
        config.tokenization.vocab_size, config.pretraining.training.context_length
    )
    assert 118e6 < shape.parameter_count() < 130e6


@pytest.mark.parametrize("name", presets.NAMES)
def test_every_field_is_described(name: str) -> None:
    def undescribed(model: object, path: str) -> list[str]:
        found = []
        for field, info in type(model).model_fields.items():  # type: ignore[attr-defined]
            value = getattr(model, field)
            if not info.description and field != "type":
                found.append(f"{path}.{field}")
            if hasattr(type(value), "model_fields"):
                found += undescribed(value, f"{path}.{field}")
        return found

    assert undescribed(presets.named(name), name) == []

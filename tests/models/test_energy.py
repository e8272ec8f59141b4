"""Energy is read where it can be, and named an estimate elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from models import energy as module
from models.energy import ESTIMATE, RAPL, Spent, energy, timed


def test_energy_is_read_where_it_can_be_and_named_an_estimate_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_RAPL", tmp_path / "absent")
    assert timed(lambda: None).joules is None
    assert energy(Spent(1.0, 2.0, None), 10.0) == (ESTIMATE, 20.0)

    for zone in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0"):  # the last is a part of the first
        (tmp_path / zone).mkdir()
        (tmp_path / zone / "energy_uj").write_text("1000000\n")
    monkeypatch.setattr(module, "_RAPL", tmp_path)
    spent = timed(lambda: (tmp_path / "intel-rapl:1" / "energy_uj").write_text("3500000"))
    assert spent.joules == pytest.approx(2.5)
    assert energy(spent, 10.0) == (RAPL, pytest.approx(2.5))
    wrapped = timed(lambda: (tmp_path / "intel-rapl:1" / "energy_uj").write_text("5"))
    assert wrapped.joules is None  # the counter began anew

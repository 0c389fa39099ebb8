"""Energy: of a plan by the power of its providers, and of a device by its machine's counters."""

from __future__ import annotations

from pathlib import Path

import pytest

from reelmesh.node.worker import power
from reelmesh.node.worker.device import Device
from reelmesh.node.worker.power import metered
from reelmesh.scheduler.energy import WATTS, class_watts, energy, reference_seconds
from reelmesh.scheduler.ids import Wei, node_address
from reelmesh.scheduler.offers import ProviderOffer, StageOffer
from reelmesh.scheduler.spec import parse_spec
from reelmesh.scheduler.stages import CATALOGUE
from reelmesh.scheduler.templates import make_plan

PLAN = make_plan(parse_spec({"prompt": "a red ball"}))
CPU = Device(kind="cpu", index=0, name="x", memory_mb=1, device_class="cpu-avx2")
GPU = Device(kind="cuda", index=1, name="x", memory_mb=1, device_class="cuda-sm90")


def _offer(number: int, wei: int, pace: float) -> ProviderOffer:
    stage = StageOffer(price_per_unit=Wei(wei), seconds_per_unit=pace)
    stages = dict.fromkeys(CATALOGUE, stage)
    return ProviderOffer(provider=node_address(bytes([number]) * 20), memory_mb=9000, stages=stages)


def test_the_lowest_ask_works() -> None:
    cheap, dear = _offer(1, 10, 2.0), _offer(2, 11, 0.1)
    units = sum(task.units for task in PLAN.subtasks)
    watts = {cheap.provider: (50.0, True), dear.provider: (600.0, False)}
    found = energy(PLAN, [dear, cheap], watts)
    assert found.joules == pytest.approx(50 * 2 * units)
    assert found.watt_hours == pytest.approx(found.joules / 3600)
    assert found.measured == pytest.approx(1)
    assert energy(PLAN, [dear], watts).measured == 0


def test_without_offers_the_reference_machine_works() -> None:
    whole, soonest = reference_seconds(PLAN)
    assert 0 < soonest < whole
    assert 0 < energy(PLAN).joules < WATTS["cpu"] * whole


def test_an_unknown_class_counts_as_its_kind() -> None:
    assert class_watts("cpu-amx_bf16") == WATTS["cpu"]
    assert class_watts("cuda-sm90") == 600
    assert class_watts("cuda-sm12") == WATTS["cuda"]
    assert class_watts("") == WATTS["cpu"]


def _counter(folder: Path, name: str, joules: float, most: float) -> None:
    (folder / name).mkdir(exist_ok=True)
    (folder / name / "energy_uj").write_text(f"{round(joules * 1e6)}\n")
    (folder / name / "max_energy_range_uj").write_text(f"{round(most * 1e6)}\n")


def test_counters_of_all_packages_add_up_and_may_begin_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = iter([100.0, 104.0])
    monkeypatch.setattr(power.time, "monotonic", lambda: next(ticks))
    _counter(tmp_path, "intel-rapl:0", 10, 1000)
    _counter(tmp_path, "intel-rapl:1", 990, 1000)
    _counter(tmp_path, "intel-rapl:0:0", 0, 1000)
    with metered(CPU, tmp_path) as drawn:
        _counter(tmp_path, "intel-rapl:0", 30, 1000)
        _counter(tmp_path, "intel-rapl:1", 10, 1000)
        _counter(tmp_path, "intel-rapl:0:0", 500, 1000)
    assert drawn.watts == pytest.approx((20 + 20) / 4)


def test_a_machine_that_tells_nothing_has_no_watts(tmp_path: Path) -> None:
    with metered(CPU, tmp_path) as drawn:
        pass
    assert drawn.watts is None
    (tmp_path / "intel-rapl:0").mkdir()
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("much")
    with metered(CPU, tmp_path) as drawn:
        pass
    assert drawn.watts is None


def test_a_gpus_draw_is_asked_for_while_it_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text('#!/bin/sh\n[ "$1" = --id=1 ] && echo " 412.50"\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with metered(GPU) as drawn:
        pass
    assert drawn.watts == 412.5
    tool.write_text("#!/bin/sh\nexit 9\n")
    with metered(GPU) as drawn:
        pass
    assert drawn.watts is None

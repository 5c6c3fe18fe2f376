from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from machines import GPU, ON_CPU

import search.doctor
from search.cli import main
from search.cli.errors import ExitCode
from search.doctor import Facts, PluginState
from search.hardware.gpu_processes import GpuProcess


@pytest.fixture(autouse=True)
def _leases_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.device_lease.lease.shared_folder", lambda: tmp_path / "leases")


def doctor(*arguments: str) -> Result:
    result = CliRunner().invoke(main, ["doctor", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def doctor_on(facts: Facts, monkeypatch: pytest.MonkeyPatch) -> Result:
    monkeypatch.setattr(search.doctor, "examine", lambda *_names, **_settings: facts)
    return doctor()


def test_this_machine_is_described_as_json() -> None:
    result = doctor("--device", "cpu", "--json")
    assert result.exit_code == ExitCode.DONE
    data = json.loads(result.output)
    assert data["device"] == "cpu"
    assert data["cpu"]["cpus"]
    assert data["versions"]["metaformer-search"]
    assert data["storage"]["trouble"] == ""
    for finding in data["findings"]:
        assert finding["problem"]
        assert finding["advice"]
        assert finding["stops"] is False


def test_this_machine_is_described_in_aligned_lines() -> None:
    result = doctor("--device", "cpu")
    assert result.exit_code == ExitCode.DONE
    described, _, _ = result.output.partition("\n\n")
    for line in described.splitlines():
        assert line[10] == " "
        assert line[11] != " "


def test_a_machine_that_is_fit_is_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    result = doctor_on(ON_CPU, monkeypatch)
    assert result.exit_code == ExitCode.DONE
    assert result.output.endswith("\n\nNothing that would spoil a measurement.\n")
    assert "AMD EPYC 9654, CPUs 0-3 of 4" in result.output
    assert "triton –" in result.output


def test_what_spoils_is_a_warning_and_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    result = doctor_on(replace(ON_CPU, threads=5), monkeypatch)
    assert result.exit_code == ExitCode.DONE
    assert "  warn  5 threads on 4 CPUs" in result.output
    assert "        do: export OMP_NUM_THREADS=4" in result.output


def test_a_gpu_is_described_whatever_is_known_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = replace(ON_CPU, device="cuda:0", cuda_devices=("H100",), gpu=GPU)
    described = doctor_on(facts, monkeypatch).output
    assert "cuda:0, NVIDIA H100 80GB HBM3, GPU-1, driver 570.86.15" in described
    assert "SM 345 of 1980 MHz (application 1980), memory 2619 of 2619 MHz" in described
    assert "31 °C, 71.5 of 700 W, 0% busy, MIG off, persistence on" in described
    assert "0 foreign processes on the GPU" in described
    idle = replace(GPU, idle=(GpuProcess(7, "jupyter", 1),))
    described = doctor_on(replace(facts, gpu=idle), monkeypatch).output
    assert "1 foreign processes on the GPU, 1 of them idle" in described
    unknown = dict.fromkeys(("name", "power_watts", "mig", "clock_reasons", "foreign"))
    described = doctor_on(replace(facts, gpu=replace(GPU, **unknown)), monkeypatch).output
    assert "cuda:0, –, GPU-1" in described
    assert "MIG –" in described
    described = doctor_on(replace(facts, gpu=None, gpu_unknown="no pynvml"), monkeypatch).output
    assert "unknown: no pynvml" in described


def test_mixers_that_may_not_be_used_and_holders_of_the_lease_are_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plugin = PluginState(name="acme/tail", state="blocked", reason="plugins.toml blocks acme")
    facts = replace(ON_CPU, plugins=(plugin,), lease_holders={"CPU 0": "process 7 (search run)"})
    result = doctor_on(facts, monkeypatch)
    assert "acme/tail blocked: plugins.toml blocks acme" in result.output
    assert "CPU 0: process 7 (search run)" in result.output


def test_what_stops_the_work_is_the_machines_exit_code() -> None:
    result = doctor("--device", "cuda:77")
    assert result.exit_code == ExitCode.ENVIRONMENT
    assert "  STOP  device: got cuda:77" in result.output
    Path("runs").write_text("")
    assert doctor("--device", "cpu").exit_code == ExitCode.ENVIRONMENT


def test_a_name_that_no_device_has_is_a_usage_error() -> None:
    result = doctor("--device", "gpu")
    assert result.exit_code == ExitCode.USAGE
    assert "got 'gpu'; allowed: auto, cpu, cuda, cuda:N" in result.output

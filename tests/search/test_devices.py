from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from search.devices import device_memory_bytes, is_out_of_memory, precision_problem, require_device
from search.errors import EnvironmentProblem, UsageError


def test_out_of_memory_is_told_by_its_name() -> None:
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
    assert not is_out_of_memory(ValueError("can't allocate memory"))


def test_torchs_own_refusal_to_allocate_is_recognised() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


def test_a_limit_on_the_process_is_a_limit_on_the_memory() -> None:
    code = (
        "import resource, torch; resource.setrlimit(resource.RLIMIT_AS, (2**33, 2**33));"
        "from search.devices import device_memory_bytes;"
        "print(device_memory_bytes(torch.device('cpu')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == min(2**33, device_memory_bytes(torch.device("cpu")))


def test_the_limit_of_the_own_control_group_is_a_limit_on_the_memory(tmp_path: Path) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/job")
    (tmp_path / "sys/fs/cgroup/job").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/job/memory.max").write_text(str(2**20))
    assert device_memory_bytes(torch.device("cpu"), tmp_path) == 2**20
    assert device_memory_bytes(torch.device("cpu"), tmp_path / "none") > 2**20


def test_a_device_is_found_or_its_absence_said() -> None:
    assert require_device("cpu") == torch.device("cpu")
    assert require_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(EnvironmentProblem, match="device: got cuda:99; allowed: auto, cpu"):
        require_device("cuda:99")


@pytest.mark.parametrize(
    ("precision", "capability", "words"),
    [
        ("bf16", (7, 5), "got bf16 on a CUDA device of compute capability 7.5; allowed below 8.0"),
        ("tf32", (7, 0), "got tf32 on a CUDA device of compute capability 7.0; allowed below 8.0"),
        ("bf16", (8, 0), ""),
        ("tf32", (12, 0), ""),
        ("fp16", (7, 0), ""),
        ("fp32", (6, 1), ""),
        ("bf16", None, ""),
    ],
)
def test_a_precision_that_a_cuda_device_lacks_is_named_with_those_that_it_has(
    monkeypatch: pytest.MonkeyPatch,
    precision: str,
    capability: tuple[int, int] | None,
    words: str,
) -> None:
    monkeypatch.setattr("search.devices.compute_capability", lambda _device: capability)
    problem = precision_problem(precision, torch.device("cuda", 0))
    assert problem.startswith(words)
    assert bool(problem) == bool(words)
    if words:
        assert problem.endswith("allowed below 8.0: fp32, fp16")


@pytest.mark.parametrize("name", ["cdua", "", "CPU", "mps", "cuda:", "cuda:-1", "cpu:0", "xcuda"])
def test_a_name_that_is_no_devices_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="allowed: auto, cpu, cuda, cuda:N"):
        require_device(name)

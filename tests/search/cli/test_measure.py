"""`search measure` in this process: networks, budgets, exit codes, bad input, the cache."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from machines import without_home
from tiny import STUDY, write_study

from mixers import MixerRegistry
from search.cli import main
from search.evaluation import one_measurement as record_module
from search.evaluation.measurer import Measurer
from search.evaluation.model_source import read_model_source
from search.evaluation.one_measurement import default_settings
from search.profiling.roofline import Rates
from search.throughput import MeasurementProtocol
from search.throughput.stopping import LOOKS, interval

TINY = """\
schema: 1
name: tiny
image_size: 8
num_classes: 3
stem: {kernel_size: 2, stride: 2, norm: batch_norm}
stages:
  - {depth: 1, width: 4, block: metanext, mixer: pooling, norm: batch_norm}
head: {norm: layer_norm}
"""


def command(*arguments: str) -> Result:
    result = CliRunner().invoke(main, ["measure", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def record(*arguments: str) -> Any:
    return json.loads(command(*arguments, "--json").stdout)


@pytest.fixture
def tiny() -> str:
    Path("tiny.yaml").write_text(TINY)
    return "tiny.yaml"


def test_far_above_and_far_below_a_budget_are_told_apart(tiny: str) -> None:
    passed = command(tiny, "--budget-throughput", "0.1")
    assert passed.exit_code == 0, passed.output
    assert "tiny: train, adamw, batch 64, 8 pixels, fp32, channels_last, eager" in passed.output
    assert "budget 0.1 images/s, margin +" in passed.output
    assert ": PASS" in passed.output
    failed = command(tiny, "--budget-throughput", "infer:1e6")
    assert failed.exit_code == 3, failed.output
    assert "tiny: infer, batch 64" in failed.output
    assert ": FAIL" in failed.output


def test_several_budgets_are_asked_at_once_and_the_worst_decides_the_exit_code(tiny: str) -> None:
    arguments = (tiny, "--budget-throughput", "0.1", "--budget-throughput", "infer:1e9")
    both = command(*arguments, "--json")
    assert both.exit_code == 3
    assert [(r["mode"], r["verdict"]) for r in json.loads(both.stdout)] == [
        ("train", "PASS"),
        ("infer", "FAIL"),
    ]


def test_the_record_names_the_network_and_its_interval_can_be_recomputed(tiny: str) -> None:
    said = record(tiny, "--mode", "infer", "--max-seconds", "1")
    assert said["verdict"] is None
    assert said["spec"]["name"] == "tiny"
    assert said["mixers"][0]["name"] == "pooling"
    seconds, fastest, slowest = interval(said["block_seconds"], said["alpha"] / len(LOOKS))
    assert said["images_per_second"] == pytest.approx(said["batch_size"] / seconds, rel=1e-5)
    widening = 1 + said["drift"]
    assert said["low"] == pytest.approx(said["batch_size"] / slowest / widening, rel=1e-4)
    assert said["high"] == pytest.approx(said["batch_size"] / fastest * widening, rel=1e-4)
    assert said["environment"]["threads"] == 1
    assert said["environment"]["lease"].startswith("all users")


def test_what_was_asked_reaches_the_protocol(tiny: str) -> None:
    options = ["--batch-size", "3", "--image-size", "16", "--precision", "bf16", "--mode", "train"]
    options += ["--memory-format", "contiguous", "--optimizer", "sgd", "--max-seconds", "0.5"]
    said = record(tiny, *options, "--budget-throughput", "0.1")
    wanted = {
        "batch_size": 3,
        "image_size": 16,
        "precision": "bf16",
        "memory_format": "contiguous",
        "optimizer": "sgd",
        "mode": "train",
        "max_seconds": 0.5,
        "compile": False,
    }
    assert {key: said[key] for key in wanted} == wanted


def test_models_of_timm_and_torchvision_are_measured_too() -> None:
    size = ("--image-size", "32", "--batch-size", "2", "--budget-throughput", "infer:0.1")
    assert record("timm:resnet10t", *size)["verdict"] == "PASS"
    said = record("torchvision:squeezenet1_1", *size)
    assert said["verdict"] == "PASS"
    assert said["name"] == "torchvision:squeezenet1_1"
    assert said["spec"] is None


def test_the_best_of_a_study_is_measured_under_the_studys_settings() -> None:
    text = STUDY.replace("{train: 1}", "{params: 100000000}")
    run = CliRunner().invoke(main, ["run", str(write_study(text)), "--trials", "1"])
    assert run.exit_code == 0, run.output
    said = record("runs/tiny", "--budget-throughput", "0.1")
    assert (said["batch_size"], said["image_size"]) == (4, 8)
    assert said["spec"]["num_classes"] == 10
    missing = command("runs")
    assert missing.exit_code == 2
    assert "runs: no best.yaml; allowed: the folder of a study" in missing.output


@pytest.mark.usefixtures("tiny")
def test_a_precision_that_the_gpu_lacks_is_refused_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch, registry: MixerRegistry
) -> None:
    gpu = torch.device("cuda", 0)
    monkeypatch.setattr("search.devices.require_device", lambda _name: gpu)
    monkeypatch.setattr("search.devices.compute_capability", lambda _device: (7, 5))
    result = command("tiny.yaml", "--precision", "bf16")
    assert result.exit_code == 2, result.output
    words = "--precision: got bf16 on a CUDA device of compute capability 7.5; allowed below 8.0: "
    assert words + "fp32, fp16" in result.output
    network = read_model_source("tiny.yaml", registry)
    assert default_settings(network, gpu, {})["precision"] == "fp32"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["timm:resnet1"], 2, "timm:resnet1: timm has no such model; did you mean timm:resnet"),
        (
            ["torchvision:resnet1"],
            2,
            "did you mean torchvision:resnet",
        ),
        (["tiny.yaml", "--device", "cdua"], 2, "got 'cdua'; allowed: auto, cpu, cuda, cuda:N; did"),
        (["tiny.yaml", "--device", "CPU"], 2, "did you mean cpu?"),
        (["tiny.yaml", "--device", "mps"], 2, "got 'mps'; allowed: auto, cpu, cuda, cuda:N"),
        (["tiny.yaml", "--device", "cuda:-1"], 2, "got 'cuda:-1'; allowed"),
        (["swin_tt"], 2, "swin_tt: neither a file nor a known backbone"),
        (["none.yaml"], 2, "none.yaml: no such file"),
        (["tiny.yaml", "--budget-throughput", "0"], 2, "got '0'; allowed: images/s above 0"),
        (["tiny.yaml", "--budget-throughput", "-1"], 2, "got '-1'; allowed: images/s above 0"),
        (["tiny.yaml", "--budget-throughput", "nan"], 2, "got 'nan'; allowed: images/s above 0"),
        (["tiny.yaml", "--budget-throughput", "test:9"], 2, "got 'test:9'; allowed: images/s"),
        (
            ["tiny.yaml", "--budget-throughput", "9", "--budget-throughput", "train:8"],
            2,
            "train is given twice",
        ),
        (["tiny.yaml", "--precision", "fp16"], 2, "--precision: got fp16 on a CPU; allowed: fp32"),
        (["tiny.yaml", "--device", "cuda:99"], 4, "device: got cuda:99; allowed: auto, cpu"),
        (
            ["torchvision:alexnet", "--image-size", "16", "--batch-size", "2"],
            2,
            "torchvision:alexnet raises at 16 pixels, batch 2: RuntimeError: ",
        ),
    ],
)
@pytest.mark.usefixtures("tiny")
def test_what_cannot_be_measured_is_one_message(
    arguments: list[str], code: int, words: str
) -> None:
    result = command(*arguments)
    assert result.exit_code == code, result.output
    assert words in " ".join(result.output.split())


def test_a_batch_that_does_not_fit_fails_with_the_reason(tiny: str) -> None:
    for budget in (("--budget-throughput", "1"), ()):
        result = command(tiny, "--batch-size", "1000000000000", *budget)
        assert result.exit_code == 3, result.output
        assert "out of memory at batch 1000000000000: a step needs " in result.output
        assert ("FAIL" in result.output) is bool(budget)


def test_a_batch_whose_need_is_not_foretold_fails_where_torch_says_so(
    tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_module, "memory_problem", lambda *_arguments: None)
    monkeypatch.setattr(Measurer, "rates", lambda *_arguments: None)
    result = command(tiny, "--batch-size", "1000000000000", "--budget-throughput", "1")
    assert result.exit_code == 3, result.output
    assert "FAIL: out of memory at batch 1000000000000" in result.output


def test_what_no_kernel_could_do_fails_without_a_measurement(
    tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Measurer, "until_clear", _never)
    said = record(tiny, "--budget-throughput", "infer:1e12")
    assert (said["verdict"], said["images_per_second"]) == ("FAIL", None)
    assert "infer: at most " in said["reason"]
    assert "of 1e+12 images/s whatever the kernels, not measured" in said["reason"]


def test_a_long_step_is_foretold(tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Rates(macs_per_second=1.0, bytes_per_second=1e12)
    monkeypatch.setattr(Measurer, "rates", lambda *_arguments: slow)
    result = command(tiny, "--max-seconds", "0.5")
    assert result.exit_code == 0, result.output
    assert "s here or longer, and an answer six steps or more" in result.output


def _never(*_arguments: Any) -> None:
    raise AssertionError("measured")


def test_others_at_work_give_no_figure_and_the_machines_exit_code(
    tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from search.throughput.sensors import CpuSensors, Reading

    monkeypatch.setattr(CpuSensors, "read", lambda _self: Reading(foreign=("somebody",)))
    monkeypatch.setattr(record_module.time, "sleep", lambda _seconds: None)
    result = command(tiny, "--budget-throughput", "1", "--max-seconds", "0.5")
    assert result.exit_code == 4, result.output
    assert ": CONTAMINATED" in result.output
    assert "others compute on the device: somebody" in result.output


def test_the_same_question_is_answered_from_the_cache(
    tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys: list[str] = []

    def key(
        network: Any, protocol: MeasurementProtocol, budget: float | None, environment: Any
    ) -> str:
        keys.append(f"{network.digest}-{protocol.batch_size}-{budget}")
        return keys[-1]

    monkeypatch.setattr(record_module, "cache_key", key)
    first = record(tiny, "--budget-throughput", "0.1")
    again = record(tiny, "--budget-throughput", "0.1")
    assert first["cached"] == ""
    assert again["cached"].startswith("measured ")
    assert again["block_seconds"] == first["block_seconds"]
    assert record(tiny, "--budget-throughput", "0.2")["cached"] == ""
    assert record(tiny, "--budget-throughput", "0.1", "--fresh")["cached"] == ""


def test_a_device_that_another_process_keeps_is_waited_for_and_then_said(
    tiny: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import subprocess
    import sys

    monkeypatch.setattr("search.device_lease.lease.shared_folder", lambda: tmp_path / "leases")
    code = f"""
import sys, time, pathlib, torch
import search.device_lease.lease as lease
lease.shared_folder = lambda: pathlib.Path({str(tmp_path / "leases")!r})
with lease.device_lease(torch.device("cpu"), wait_seconds=1):
    print("held", flush=True)
    sys.stdin.read()
"""
    monkeypatch.setattr(record_module, "LEASE_SECONDS", 0.3)
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        # a child of this process: it is not of the holder's family, but the holder is of ours
        result = command(tiny, "--budget-throughput", "0.1")
        holder.communicate("")
    assert result.exit_code == 4, result.output
    assert f"is leased by process {holder.pid}" in result.output
    assert command(tiny, "--budget-throughput", "0.1").exit_code == 0


def test_where_the_time_goes_memory_and_latency_are_told_beside(tiny: str) -> None:
    options = ("--max-seconds", "0.5", "--batch-size", "4", "--breakdown", "--memory", "--latency")
    said = record(tiny, *options)
    names = [part["name"] for part in said["breakdown"]["parts"]]
    assert "stem" in names
    assert said["breakdown"]["mixers"] == ["stages.0.blocks.0 pooling"]
    assert said["peak_memory_bytes"] > 0
    assert 0 < said["latency"]["median_seconds"] <= said["latency"]["p99_seconds"]
    shown = command(tiny, *options)
    assert shown.exit_code == 0, shown.output
    assert "stages.0.blocks.0 pooling" in shown.output
    assert "GiB at its peak" in shown.output
    assert "one image, forward: " in shown.output


def test_memory_is_a_budget_too(tiny: str) -> None:
    options = ("--max-seconds", "0.5", "--batch-size", "4", "--budget-memory")
    assert command(tiny, *options, "100").exit_code == 0
    too_much = command(tiny, *options, "1e-9")
    assert too_much.exit_code == 3
    assert "budget 1e-09 GiB: FAIL" in too_much.output


def test_the_largest_batch_that_fits_is_a_figure_of_its_own(
    tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "search.evaluation.extra_figures.device_memory_bytes", lambda _device: 4_000_000
    )
    said = record(tiny, "--max-seconds", "0.5", "--batch-size", "4", "--largest-batch")
    assert 4 < said["largest_batch"] < 65536
    assert said["batch_size"] == 4


def test_a_compiled_model_has_no_parts(tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(*_arguments: Any, **_named: Any) -> Any:
        raise AssertionError("refused before anything is measured")

    monkeypatch.setattr(record_module, "measured_record", measured)
    result = command(tiny, "--breakdown", "--compile")
    assert result.exit_code == 2, result.output
    assert "--breakdown: got --compile, which makes one of all parts" in result.output


def test_a_figure_beside_that_fails_does_not_lose_the_measurement(
    tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("search.evaluation.extra_figures.memory_of_a_step", full)
    options = (tiny, "--max-seconds", "0.3", "--memory")
    assert command(*options).exit_code == 4
    assert " images/s [" in command(*options).stdout
    assert json.loads(command(*options, "--json").stdout)["images_per_second"] > 0


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("timm:resnet18.nonsense", "has no tag 'nonsense'; allowed: none, a1_in1k, a2_in1k"),
        ("timm:resnet18.a1_in1", "did you mean timm:resnet18.a1_in1k?"),
        ("timm:resnet18.", "has no tag ''; allowed: none, a1_in1k"),
        ("timm:mf_swin_t.ms_in1k", "mf_swin_t has no pretrained tags; allowed: timm:mf_swin_t"),
    ],
)
def test_a_tag_that_timm_does_not_have_is_answered_with_those_that_exist(
    source: str, words: str
) -> None:
    result = command(source, "--image-size", "32")
    assert result.exit_code == 2, result.output
    assert words in result.output
    study = write_study()
    for arguments in (["run", str(study), "--baseline", source], ["plan", str(study), "--baseline",
                                                                  source]):  # fmt: skip
        done = CliRunner().invoke(main, arguments)
        assert done.exit_code == 2, done.output
        assert words in done.output


@pytest.mark.parametrize("fresh", [(), ("--fresh",)], ids=["asked", "fresh"])
@pytest.mark.parametrize("cache", ["no home", "a file", "a dangling link", "not writable"])
def test_a_cache_that_cannot_be_had_is_a_note_and_the_measurement_is_shown(
    tiny: str, monkeypatch: pytest.MonkeyPatch, cache: str, fresh: tuple[str, ...]
) -> None:
    monkeypatch.setattr(record_module, "cache_key", lambda *_arguments: "key")
    if cache == "no home":
        without_home(monkeypatch)
        words = "no home folder: HOME is not set, and the user has no passwd entry"
    else:
        place = Path("cache").absolute()
        if cache == "a file":
            place.touch()
        elif cache == "a dangling link":
            place.symlink_to("nowhere")
        else:
            place = Path("/proc/self/cache")
        monkeypatch.setenv("XDG_CACHE_HOME", str(place))
        words = str(place)
    result = command(tiny, "--mode", "infer", "--max-seconds", "0.05", *fresh)
    assert result.exit_code == 0, result.output
    assert " images/s [" in result.stdout
    assert "not kept in the cache: " in result.stderr
    assert words in result.stderr

"""A study in a widened space with what an older one has tried."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import own_mixer
import pytest
import torch
from click.testing import CliRunner, Result
from misbehaving import entry_point
from studies import Evaluate, Heard, reject, runner
from tiny import STUDY, write_study
from torch import Tensor

from metaformer import BackboneSpec
from mixers import MixerRegistry
from mixers._registry import registry_of
from mixers.plugins_file import read_plugin_rules
from mixers.scan import scan
from search.cli import main
from search.config.load import load_study
from search.config.study import Study
from search.errors import UsageError
from search.evaluation.evaluator import CandidateEvaluator
from search.storage.records import TrialRecord, TrialState
from search.storage.run_folder import RunFolder
from search.storage.trial_store import TrialStore
from search.study.fork import distribution_of, fork, said_by

WIDER = STUDY.replace("name: tiny", "name: wider")


def command(*arguments: str) -> Result:
    result = CliRunner().invoke(main, ["fork", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def study_of(text: str) -> Study:
    return load_study(write_study(text, "wider.yaml"), {}, device="cpu")


def records(folder: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(folder, "trials.jsonl").read_text().splitlines()]


def test_trials_are_carried_into_a_wider_space_and_the_search_goes_on_from_them(
    registry: MixerRegistry, evaluate_by: Callable[[Evaluate], None]
) -> None:
    evaluate_by(reject)
    runner(registry, search={"trials": 6}).run()
    old = load_study("runs/tiny/study.yaml", {}, device="cpu")
    wide = WIDER.replace("[4, 6, 8]", "[4, 6, 8, 10]").replace(
        "[identity, pooling]", "[identity, pooling, large_kernel_dw]"
    )
    new = study_of(wide)
    begun = fork(old, Path("runs/tiny"), new, Path("runs"), registry)
    assert begun.folder == Path("runs/wider")
    assert begun.carried == 6
    assert begun.left_behind == ()
    before, after = records("runs/tiny"), records("runs/wider")
    assert [line["digest"] for line in before] == [line["digest"] for line in after]
    assert [line["constraints"] for line in before] == [line["constraints"] for line in after]
    heard = Heard()
    summary = runner(registry, study=new, heard=heard, search={}).run()
    assert summary["trials"]["counted"] == 6  # the total of 3 is reached already
    more = load_study("wider.yaml", {"search": {"trials": 20}}, device="cpu")
    summary = runner(registry, study=more, heard=heard).run()
    assert len(heard.finished) == 14
    digests = [line["digest"] for line in records("runs/wider")]
    assert len(set(digests)) == len(digests) == 20


def test_what_was_fixed_is_known_from_the_backbone_and_what_left_the_space_stays_behind(
    registry: MixerRegistry, evaluate_by: Callable[[Evaluate], None]
) -> None:
    evaluate_by(reject)
    text = STUDY.replace(
        "{choice: [identity, pooling]}", "{pooling: {pool_size: {choice: [3, 5]}}}"
    )
    runner(registry, study=load_study(write_study(text), {}, device="cpu"), search={}).run()
    old = load_study("runs/tiny/study.yaml", {}, device="cpu")
    wide = WIDER.replace("[4, 6, 8]", "[6, 8]").replace("{choice: [identity, pooling]}", "any")
    begun = fork(old, Path("runs/tiny"), study_of(wide), Path("runs"), registry)
    widths = {line["number"]: line["spec"]["stages"][0]["width"] for line in records("runs/tiny")}
    narrow = tuple(number for number, width in widths.items() if width == 4)
    assert narrow
    assert begun.left_behind == narrow
    assert begun.carried == len(widths) - len(narrow)


def test_the_same_choices_that_mean_another_network_stay_behind(
    registry: MixerRegistry, evaluate_by: Callable[[Evaluate], None]
) -> None:
    evaluate_by(reject)
    runner(registry).run()
    old = load_study("runs/tiny/study.yaml", {}, device="cpu")
    other = study_of(WIDER.replace("{norm: layer_norm}", "{norm: batch_norm}"))
    begun = fork(old, Path("runs/tiny"), other, Path("runs"), registry)
    assert begun.carried == 0
    assert begun.left_behind == tuple(line["number"] for line in records("runs/tiny"))


def test_the_best_keeps_its_weights(registry: MixerRegistry) -> None:
    summary = runner(registry).run()
    old = load_study("runs/tiny/study.yaml", {}, device="cpu")
    fork(old, Path("runs/tiny"), study_of(WIDER), Path("runs"), registry)
    assert Path("runs/wider/best.safetensors").exists()
    again = runner(registry, study=study_of(WIDER)).run()
    assert again["best"]["digest"] == summary["best"]["digest"]
    assert again["best"]["test_accuracy"] == summary["best"]["test_accuracy"]


@pytest.mark.parametrize(
    ("old", "new", "difference"),
    [
        ("{train: 1}", "{train: 2}", "budget.train: was 1.0, now 2.0"),
        ("batch_size: 4", "batch_size: 8", "measure.batch_size: was 4, now 8"),
        ("epochs: 1", "epochs: 2", "train.epochs: was 1, now 2"),
    ],
)
def test_a_fork_that_measures_or_trains_otherwise_is_refused(
    registry: MixerRegistry,
    evaluate_by: Callable[[Evaluate], None],
    old: str,
    new: str,
    difference: str,
) -> None:
    evaluate_by(reject)
    runner(registry).run()
    begun = load_study("runs/tiny/study.yaml", {}, device="cpu")
    with pytest.raises(UsageError, match=difference):
        fork(begun, Path("runs/tiny"), study_of(WIDER.replace(old, new)), Path("runs"), registry)
    assert not Path("runs/wider").exists()


def test_the_command_forks_with_the_mixers_of_today_and_says_how_to_go_on(
    registry: MixerRegistry, evaluate_by: Callable[[Evaluate], None]
) -> None:
    evaluate_by(reject)
    text = STUDY.replace("{choice: [identity, pooling]}", "any")
    few = {name: registry.entries[name] for name in ("identity", "pooling")}
    study = load_study(write_study(text), {}, device="cpu")
    runner(MixerRegistry(few), study=study).run()
    result = command("runs/tiny")
    assert result.exit_code == 0, result.output
    assert "runs/tiny-fork: 3 trials carried over" in result.output
    assert "next: search run runs/tiny-fork/study.yaml --trials 4" in result.output
    names = {mixer["name"] for mixer in read_study("runs/tiny-fork").frozen_mixers}
    assert {"identity", "pooling", "large_kernel_dw"} <= names
    again = CliRunner().invoke(main, ["run", "runs/tiny-fork/study.yaml", "--trials", "5"])
    assert again.exit_code == 3, again.output
    assert "tiny-fork: 5 of 5 trials" in again.output


def read_study(folder: str) -> Study:
    return load_study(f"{folder}/study.yaml", {}, device="cpu")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "nowhere: no such folder; allowed: the folder of a study"),
        (["runs/tiny", "wide.yaml"], "wide.yaml: no such study file"),
        (["runs/tiny", "--name", "tiny"], "runs/tiny is there already; choose another --name"),
        (["runs/tiny", "--name", "a b"], "--name: got 'a b'; allowed: "),
    ],
)
def test_what_cannot_be_forked_is_said(
    registry: MixerRegistry,
    evaluate_by: Callable[[Evaluate], None],
    arguments: list[str],
    words: str,
) -> None:
    evaluate_by(reject)
    runner(registry).run()
    result = command(*arguments)
    assert result.exit_code == 2, result.output
    assert words in result.output


def test_a_backbone_says_what_a_parameter_of_it_is() -> None:
    stage = {"block": "metanext", "depth": 2, "mixer": ["identity", {"a/gated": {"size": 3}}]}
    spec = {"stages": [stage]}
    assert said_by(spec, "stages.0.depth") == 2
    assert said_by(spec, "stages.0.mixer") == "identity"
    assert said_by(spec, "stages.0.metanext.mixer") == "identity"
    assert said_by(spec, "stages.0.1.mixer") == "a/gated"
    assert said_by(spec, "stages.0.gated.size") == 3
    for name in ("stages.1.depth", "stages.0.width", "stages.0.mixer.size"):
        with pytest.raises((LookupError, StopIteration)):
            said_by(spec, name)


def test_optunas_distributions_are_those_that_the_space_asks_for(
    registry: MixerRegistry, evaluate_by: Callable[[Evaluate], None]
) -> None:
    from optuna.distributions import FloatDistribution, IntDistribution

    from mixers import FloatRange, IntRange

    assert distribution_of(IntRange(2, 8, 2)) == IntDistribution(2, 8, step=2)
    assert distribution_of(IntRange(1, 8, log=True)) == IntDistribution(1, 8, log=True)
    assert distribution_of(FloatRange(0.5, 2.0, 0.5)) == FloatDistribution(0.5, 2.0, step=0.5)


def test_only_final_trials_come_along(
    registry: MixerRegistry, evaluate_by: Callable[[Evaluate], None]
) -> None:
    def interrupt_once(spec: Any, record: TrialRecord) -> None:
        if record.number == 0:
            record.state, record.reason = TrialState.INTERRUPTED, "others compute"
        else:
            reject(spec, record)

    evaluate_by(interrupt_once)
    runner(registry).run()
    old = load_study("runs/tiny/study.yaml", {}, device="cpu")
    begun = fork(old, Path("runs/tiny"), study_of(WIDER), Path("runs"), registry)
    assert begun.carried == 3
    assert {line["state"] for line in records("runs/wider")} == {"REJECTED"}


def test_a_short_name_stays_whose_it_was_though_a_rival_has_been_installed(
    evaluate_by: Callable[[Evaluate], None],
) -> None:
    evaluate_by(reject)
    Path("mine.py").write_text(own_mixer.CODE)
    Path("plugins.toml").write_text("schema = 1\n[local]\nmine = 'mine.py:Mine'\n")
    rules = read_plugin_rules("plugins.toml")
    text = STUDY.replace("[identity, pooling]", "[identity, mine]")
    study = load_study(write_study(text), {}, device="cpu")
    runner(registry_of(scan(), rules), study=study).run()
    old = load_study("runs/tiny/study.yaml", {}, device="cpu")
    both = registry_of([*scan(), entry_point("rivals", "mine", "rivals:Mine")], rules)
    new = study_of(text.replace("name: tiny", "name: wider"))
    assert fork(old, Path("runs/tiny"), new, Path("runs"), both).carried == 3


def test_a_best_that_was_refuted_is_not_the_best_of_the_fork(
    registry: MixerRegistry,
    evaluate_by: Callable[[Evaluate], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def score(spec: BackboneSpec, record: TrialRecord) -> dict[str, Tensor] | None:
        if not lost:  # so that the fork has other numbers
            lost.append(record.number)
            record.state = TrialState.LOST
            return None
        value = int(spec.digest[:6], 16) / 16**6
        record.state, record.score = TrialState.COMPLETE, {"value": value, "epochs": 1}
        return {"weight": torch.tensor([value])}

    def misses_once(_self: object, spec: BackboneSpec, record: TrialRecord) -> None:
        record.state = TrialState.COMPLETE if missed else TrialState.REJECTED
        missed.append(spec.digest)

    missed: list[str] = []
    lost: list[int] = []
    evaluate_by(score)
    monkeypatch.setattr(CandidateEvaluator, "measure_only", misses_once)
    monkeypatch.setattr("search.study.loop.SearchLoop.test_best", lambda _self: 0.5)
    best = runner(registry, train={"inherit": True}).run()["best"]
    assert missed[0] != best["digest"] == missed[1]
    old = load_study("runs/tiny/study.yaml", {}, device="cpu")
    new = load_study(
        write_study(WIDER.replace("[4, 6, 8]", "[2, 4, 6, 8]"), "wider.yaml"),
        {"train": {"inherit": True}},
        device="cpu",
    )
    begun = fork(old, Path("runs/tiny"), new, Path("runs"), registry)
    assert begun.carried == 3
    summary = json.loads(Path("runs/wider/summary.json").read_text())
    assert (summary["best"]["digest"], summary["best"]["confirmed"]) == (best["digest"], True)
    assert [trial["digest"] for trial in summary["refuted"]] == missed[:1]
    forked = TrialStore("wider", RunFolder(Path("runs/wider")))
    assert forked.study.best_trial.number == summary["best"]["trial"]
    lines = records("runs/wider")
    numbers = {line["digest"]: line["number"] for line in lines if line["confirms"] is None}
    assert [line["confirms"] for line in lines[3:]] == [numbers[digest] for digest in missed]
    kept = {path.stem for path in Path("runs/wider/weights").iterdir()}
    assert kept == numbers.keys()
    for line in lines[1:3]:
        assert line["inherited"]["trial"] == numbers[line["inherited"]["digest"]]

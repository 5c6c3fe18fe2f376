"""Packages of third parties, installed for real: what good mixers and broken ones go through."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fresh_environment import FreshEnvironment, build_wheel
from tiny import STUDY, write_study

from mixers.conformance import CHECK_NAMES

ROOT = Path(__file__).parents[1]
PACKAGES = ROOT / "examples"
GATED, LINEAR = "example-mixers/gated_large_kernel", "example-mixers/linear_attention"
pytestmark = pytest.mark.slow

# a budget that is counted: a measured one could fail for what else runs on the machine
CALM = STUDY.replace("{train: 1}", "{params: 100000000}").replace("metanext", "metaformer")
NAMED = CALM.replace("[identity, pooling]", "[gated_large_kernel, linear_attention]")
ANY = CALM.replace("{choice: [identity, pooling]}", "any")

Install = Callable[..., FreshEnvironment]


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The example packages by distribution and version."""
    folder = tmp_path_factory.mktemp("wheels")
    built = {}
    for package, version in (("example", "0.1.0"), ("example", "0.2.0"), ("broken", "0.1.0")):
        source = folder / f"{package}-{version}"
        shutil.copytree(PACKAGES / f"{package}_mixers", source)
        project = source / "pyproject.toml"
        text = project.read_text().replace('version = "0.1.0"', f'version = "{version}"')
        project.write_text(text)
        built[f"{package} {version}"] = build_wheel(source, folder / "dist" / source.name)
    return built


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> FreshEnvironment:
    folder = tmp_path_factory.mktemp("fresh")
    return FreshEnvironment.create(folder / "venv", build_wheel(ROOT, folder / "dist"))


@pytest.fixture(scope="module")
def install(fresh: FreshEnvironment, wheels: dict[str, Path]) -> Install:
    """Makes the environment hold these packages, and no others of the two."""

    def install(*wanted: str) -> FreshEnvironment:
        fresh.pip("uninstall", "--yes", "example-mixers", "broken-mixers")
        if wanted:
            fresh.pip("install", "--no-deps", *(str(wheels[name]) for name in wanted))
        return fresh

    return install


@pytest.fixture
def both(install: Install) -> FreshEnvironment:
    return install("example 0.1.0", "broken 0.1.0")


@pytest.fixture
def good(install: Install) -> FreshEnvironment:
    return install("example 0.1.0")


@pytest.fixture(scope="module")
def searched(install: Install, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished study with the mixers of version 0.1.0."""
    folder = tmp_path_factory.mktemp("searched")
    study = folder / "study.yaml"
    study.write_text(NAMED)
    done = install("example 0.1.0").search("run", str(study), "--out", str(folder / "runs"))
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def under_way(searched: Path) -> None:
    """That study in the working directory."""
    shutil.copytree(searched, Path.cwd(), dirs_exist_ok=True)


def rules(text: str) -> None:
    Path("plugins.toml").write_text(f"schema = 1\n{text}\n")


def records(study: str = "tiny") -> list[dict[str, Any]]:
    lines = Path(f"runs/{study}/trials.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def frozen_names(study: str = "tiny") -> list[str]:
    text = Path(f"runs/{study}/study.yaml").read_text()
    return re.findall(r"^- name: (.*)$", text, re.MULTILINE)


def test_both_packages_are_listed_and_the_name_that_both_give_is_settled_by_a_line(
    both: FreshEnvironment,
) -> None:
    listed = both.search("mixers")
    assert listed.returncode == 0
    rows = {row["name"]: row for row in json.loads(both.search("mixers", "--json").stdout)}
    assert (rows[GATED]["state"], rows[GATED]["version"]) == ("active", "0.1.0")
    for name in (LINEAR, "broken-mixers/linear_attention"):
        assert rows[name]["state"] == "conflict"
        assert f"{name}: linear_attention is given by broken-mixers 0.1.0 and" in listed.stdout
    for name in ("exiting", "missing", "takes_anything", "crashing", "loud"):
        assert rows[f"broken-mixers/{name}"]["state"] == "active"
    unsettled = both.search("mixers", "show", "linear_attention")
    assert unsettled.returncode == 2
    line = re.search(r"\[resolve\] (linear_attention = \".*\")", unsettled.stderr)
    assert line is not None
    rules(f"[resolve]\n{line[1].replace('broken', 'example')}")
    shown = json.loads(both.search("mixers", "show", "linear_attention", "--json").stdout)
    assert shown["name"] == LINEAR
    assert "conflict" not in both.search("mixers").stdout


def test_what_a_module_prints_stays_out_of_what_is_read_by_machines(
    both: FreshEnvironment,
) -> None:
    shown = both.search("mixers", "show", "loud", "--json")
    assert json.loads(shown.stdout)["name"] == "broken-mixers/loud"
    assert shown.stderr == "loud: thank you for installing broken-mixers!\n"
    checked = both.search("mixers", "check", "loud", "--json")
    assert checked.returncode == 0
    assert "FAILED" not in {record["status"] for record in json.loads(checked.stdout)}


@pytest.mark.parametrize("name", [GATED, LINEAR])
def test_the_good_ones_pass_every_check(name: str, both: FreshEnvironment) -> None:
    checked = both.search("mixers", "check", name, "--json")
    assert checked.returncode == 0, checked.stdout
    assert {record["status"] for record in json.loads(checked.stdout)} <= {"PASSED", "SKIPPED"}


def test_their_own_tests_pass(good: FreshEnvironment) -> None:
    shutil.copytree(PACKAGES / "example_mixers" / "tests", "tests")
    done = good.run(str(good.python), "-m", "pytest", "-q", "-c", "/dev/null", "--rootdir=.")
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout
    assert " failed" not in done.stdout


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("exiting", "broken_mixers.exiting:Exiting: SystemExit: this machine has no licence"),
        ("missing", "ModuleNotFoundError: No module named 'broken_mixers.not_there'"),
        ("takes_anything", "name every option, keyword-only"),
    ],
)
def test_a_broken_one_is_refused_at_the_door_with_its_reason(
    name: str, words: str, both: FreshEnvironment
) -> None:
    checked = both.search("mixers", "check", name, "--json")
    assert checked.returncode == 4
    (record,) = json.loads(checked.stdout)
    assert (record["check"], record["status"]) == ("import", "FAILED")
    assert words in record["detail"]
    write_study(CALM.replace("[identity, pooling]", f"[identity, {name}]"))
    stopped = both.search("run", "tiny.yaml")
    assert stopped.returncode == 4
    assert "tiny.yaml:13:34: stages[0].mixer: " in stopped.stderr
    assert words in stopped.stderr
    assert not Path("runs").exists()


def test_a_crash_costs_the_checks_in_which_it_happens(both: FreshEnvironment) -> None:
    checked = both.search("mixers", "check", "crashing", "--json")
    assert checked.returncode == 4
    found = {record["check"]: record for record in json.loads(checked.stdout)}
    assert len(found) == len(CHECK_NAMES)
    assert found["signature"]["status"] == found["options"]["status"] == "PASSED"
    assert found["shapes"]["detail"] == found["export"]["detail"] == "the process died (SIGSEGV)"


def test_a_hybrid_is_built_from_the_example_of_the_readme(good: FreshEnvironment) -> None:
    text = (PACKAGES / "example_mixers" / "README.md").read_text()
    (hybrid,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    Path("hybrid.yaml").write_text(hybrid)
    described = good.search("spec", "hybrid.yaml", "--json")
    assert described.returncode == 0, described.stderr
    assert GATED in described.stdout
    assert LINEAR in described.stdout


@pytest.mark.usefixtures("under_way")
def test_a_study_keeps_which_package_each_mixer_came_from() -> None:
    tried = {mixer["name"]: mixer for record in records() for mixer in record["mixers"]}
    assert tried
    assert set(tried) <= {GATED, LINEAR}  # three trials need not meet both
    for mixer in tried.values():
        assert (mixer["distribution"], mixer["version"]) == ("example-mixers", "0.1.0")
        assert mixer["origin"].endswith("example_mixers-0.1.0-py3-none-any.whl")
        assert re.fullmatch("[0-9a-f]{16}", mixer["files"])
    assert frozen_names() == [GATED, LINEAR]
    assert "example-mixers/" in Path("runs/tiny/best.yaml").read_text()


@pytest.mark.usefixtures("under_way")
def test_a_study_whose_mixers_are_gone_says_which(install: Install) -> None:
    without = install()
    stopped = without.search("run", "study.yaml", "--trials", "4")
    assert stopped.returncode == 4
    for name in (GATED, LINEAR):
        assert f"\n  {name}: not installed\n" in stopped.stderr
    assert "search fork runs/tiny" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    write_study(CALM.replace("name: tiny", "name: other"), "other.yaml")
    forked = without.search("fork", "runs/tiny", "other.yaml")
    assert forked.returncode == 0, forked.stderr
    assert "outside the new space: 3 trials: 0, " in forked.stdout


@pytest.mark.usefixtures("under_way")
def test_another_version_stops_a_study_until_drift_is_allowed(install: Install) -> None:
    newer = install("example 0.2.0")
    stopped = newer.search("run", "study.yaml", "--trials", "4")
    assert stopped.returncode == 4
    for name in (GATED, LINEAR):
        assert f'  {name}.version: was "0.1.0", now "0.2.0"' in stopped.stderr
    assert "--allow-drift" in stopped.stderr
    gone_on = newer.search("run", "study.yaml", "--trials", "4", "--allow-drift", "--json")
    assert gone_on.returncode == 0, gone_on.stderr
    assert json.loads(gone_on.stdout)["trials"]["counted"] == 4
    versions = [{mixer["version"] for mixer in record["mixers"]} for record in records()]
    assert versions == [*[{"0.1.0"}] * 3, {"0.2.0"}]


@pytest.mark.usefixtures("under_way")
def test_a_fork_goes_on_with_what_was_tried(install: Install) -> None:
    newer = install("example 0.2.0")
    forked = newer.search("fork", "runs/tiny")
    assert forked.returncode == 0, forked.stderr
    assert "runs/tiny-fork: 3 trials carried over" in forked.stdout
    command = forked.stdout.splitlines()[-1].removeprefix("next: search ")
    gone_on = newer.search(*command.split(), "--json")
    assert gone_on.returncode == 0, gone_on.stderr
    assert json.loads(gone_on.stdout)["trials"]["counted"] == 4
    before = [record["digest"] for record in records()]
    assert [record["digest"] for record in records("tiny-fork")][:3] == before


@pytest.mark.usefixtures("under_way")
def test_what_is_installed_later_takes_neither_a_name_nor_a_place(both: FreshEnvironment) -> None:
    before = Path("runs/tiny/study.yaml").read_text()
    gone_on = both.search("run", "study.yaml", "--json")
    assert gone_on.returncode == 0, gone_on.stderr
    assert Path("runs/tiny/study.yaml").read_text() == before


def test_a_study_of_any_mixer_keeps_those_that_it_was_begun_with(install: Install) -> None:
    write_study(ANY)
    begun = install().search("run", "tiny.yaml", "--trials", "2")
    assert begun.returncode == 0, begun.stderr
    names = frozen_names()
    gone_on = install("example 0.1.0", "broken 0.1.0").search("run", "tiny.yaml", "--trials", "4")
    assert gone_on.returncode == 0, gone_on.stderr
    assert frozen_names() == names
    assert not [name for name in names if "/" in name]


def test_a_new_study_of_any_mixer_has_them_without_the_broken_ones(both: FreshEnvironment) -> None:
    rules('[mixers."broken-mixers/crashing"]\nenabled = false')
    write_study(ANY)
    done = both.search("run", "tiny.yaml", "--trials", "1", "--json")
    assert done.returncode == 0, done.stderr
    json.loads(done.stdout)
    for name in ("exiting", "missing", "takes_anything"):
        assert re.search(f"left out of any: .*{name}", done.stderr)
    theirs = [name for name in frozen_names() if "/" in name]
    loud = [f"broken-mixers/{name}" for name in ("linear_attention", "loud")]
    assert theirs == sorted([*loud, GATED, LINEAR])


@pytest.mark.usefixtures("under_way")
def test_what_a_project_refuses_is_neither_built_nor_searched(good: FreshEnvironment) -> None:
    """By [block]; the other rules are tested in one process, in tests/mixers/test_states.py."""
    words = "plugins.toml blocks example-mixers <1"
    rules('[block]\nexample-mixers = "<1"')
    Path("x.yaml").write_text(
        "schema: 1\nname: x\nextends: inceptionnext_t\nevery_stage: {mixer: gated_large_kernel}\n"
    )
    refused = good.search("spec", "x.yaml")
    assert refused.returncode == 2
    assert words in refused.stderr
    stopped = good.search("run", "study.yaml", "--trials", "4")
    assert stopped.returncode == 4
    assert words in stopped.stderr
    assert len(records()) == 3

"""The README is executed: its commands, its Python and its YAML."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from tiny import STUDY

from metaformer import build_backbone, load_spec
from mixers import MixerRegistry
from mixers.plugins_file import read_plugin_rules
from search.cli import main
from search.config.load import load_study
from search.space.search_space import SearchSpace

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", TEXT, re.DOTALL)


def test_there_are_two_commands_the_main_job_and_the_tests() -> None:
    first, second = blocks("sh")
    assert first.strip() == (
        "pip install . -c constraints.txt && search run --budget-throughput 900"
    )
    assert second.strip() == "pip install -e '.[test]' -c constraints.txt && pytest"


@pytest.mark.slow
@pytest.mark.timeout(1800)  # installs torch, then searches, next to whatever else runs
def test_the_first_command_ends_with_a_feasible_backbone_from_a_fresh_clone(tmp_path: Path) -> None:
    clone, venv = tmp_path / "clone", tmp_path / "venv"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    environment = {
        **os.environ,
        "PATH": f"{venv / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "VIRTUAL_ENV": str(venv),
    }
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        ["bash", "-c", blocks("sh")[0]], cwd=clone, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    summary = json.loads((clone / "runs/digits-train900/summary.json").read_text())
    assert summary["feasible"]
    assert summary["best"]["throughput"]["train"]["low"] >= 900
    assert "Best within the budget" in done.stdout


def test_the_python_rebuilds_the_best_of_a_study() -> None:
    Path("study.yaml").write_text(STUDY.replace("name: tiny", "name: digits-train900"))
    assert CliRunner().invoke(main, ["run", "study.yaml", "--trials", "1"]).exit_code == 0
    names: dict[str, object] = {}
    (code,) = blocks("python")
    exec(code, names)
    assert names["model"].num_classes == 10  # type: ignore[attr-defined]


def test_the_result_that_is_shown_is_one_that_the_command_prints() -> None:
    shown = blocks("text")[0]
    assert "Best within the budget" in shown
    for row in ("train throughput", "margin +", "validation accuracy", "test accuracy", "stage 2"):
        assert row in shown
    assert "runs/digits-train900/best.safetensors" in shown


def test_the_yaml_is_a_backbone(registry: MixerRegistry) -> None:
    (text,) = blocks("yaml")
    Path("hybrid.yaml").write_text(text)
    spec = load_spec("hybrid.yaml", registry)
    assert [stage.block for stage in spec.stages] == ["metanext", "metanext", *["metaformer"] * 2]
    build_backbone(spec, registry, device="meta")


def test_the_options_that_are_shown_exist() -> None:
    parameters = [p for command in main.commands.values() for p in command.params]
    known = {option for parameter in parameters for option in parameter.opts}
    shown = set(re.findall(r"--[a-z-]+", "\n".join(blocks("text"))))
    assert shown <= known


def test_links_inside_the_project_lead_somewhere() -> None:
    for file in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", file.read_text()):
            if not target.startswith("http"):
                assert (file.parent / target).exists(), f"{file}: {target}"


def test_the_files_that_the_documentation_shows_are_valid(registry: MixerRegistry) -> None:
    text = (ROOT / "docs" / "files.md").read_text()
    backbone, study = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    Path("backbone.yaml").write_text(backbone)
    build_backbone(load_spec("backbone.yaml", registry), registry, device="meta")
    Path("study.yaml").write_text(study)
    loaded = load_study("study.yaml", {}, device="cpu")
    assert SearchSpace(loaded.space, registry, fields={"name": "x"}).parameters


def test_the_plugins_toml_that_the_documentation_shows_can_be_read() -> None:
    text = (ROOT / "docs" / "files.md").read_text()
    (shown,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    Path("experiments").mkdir()
    for name in ("mine", "recipe"):
        Path(f"experiments/{name}.py").touch()
    Path("plugins.toml").write_text(shown)
    rules = read_plugin_rules()
    assert rules.mixers["somebodys-mixers/gated"].search["ratio"] == {"low": 0.25, "high": 1.0}
    own = (ROOT / "plugins.toml").read_text()
    Path("plugins.toml").write_text(re.sub(r"^# (?=\[|[a-z\"-]+ = )", "", own, flags=re.MULTILINE))
    everything = read_plugin_rules()
    assert (everything.local, everything.trainers) == (rules.local, rules.trainers)
    assert (everything.resolve, everything.allow) == (rules.resolve, rules.allow)

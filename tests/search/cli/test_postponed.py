"""A package whose `__init__` runs late, and mistakes that are answered before torch is imported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from search.cli.postponed import postpone

CASES = {
    "measure nonsense": 2,
    "measure resnet18": 2,
    "measure timm:nonsense": 2,
    "spec nonsense": 2,
    "run": 2,
    "run missing.yaml": 2,
    "run --budget-throughput 900 --data folder:nowhere": 2,
    "run --budget-throughput 900 --baseline nonsense": 2,
    "run no_budget.yaml": 2,
    "run typo.yaml": 2,
    "run --budget-throughput 900 --device cpu --trainer mien": 2,
    "plan no_budget.yaml": 2,
    "plan no_data.yaml": 2,
    "rerun study 99": 2,
    "export study --to folder --trial 99": 2,
    "export study --to folder": 2,
    "measure swin_t --breakdown --compile": 2,
    "zoo swin": 0,
    "mixers show poling": 2,
    "mixers check nonsense": 2,
}
CODE = """
import json, sys
from click.testing import CliRunner
from search.cli import main
for case in json.loads(sys.argv[1]):
    done = CliRunner().invoke(main, case.split())
    print(json.dumps([case, done.exit_code, "torch" in sys.modules, done.output]))
"""


def test_what_needs_no_torch_is_answered_without_it() -> None:
    fill_folder()
    done = subprocess.run(
        [sys.executable, "-c", CODE, json.dumps(list(CASES))],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(CASES)
    for case, code, torch_is_imported, output in answers:
        assert code == CASES[case], (case, output)
        assert not torch_is_imported, (case, output)
        assert "Traceback" not in output
    said = {case: output for case, _, _, output in answers}
    assert "a budget is needed" in said["run"]
    assert "a budget is needed" in said["plan no_budget.yaml"]
    assert "trails" in said["run typo.yaml"]
    assert "no such folder" in said["plan no_data.yaml"]
    assert "allowed: 0" in said["rerun study 99"]
    assert "is there already" in said["export study --to folder"]


def fill_folder() -> None:
    """Study files with one mistake each, and a run folder with one trial that is exported."""
    on_a_cpu = "schema: 1\nmeasure: {device: cpu}\n"
    Path("no_budget.yaml").write_text(on_a_cpu)
    Path("typo.yaml").write_text(on_a_cpu + "budget: {params: 9}\nsearch: {trails: 1}\n")
    Path("no_data.yaml").write_text(on_a_cpu + "budget: {params: 9}\ntrain: {data: folder:no}\n")
    Path("study").mkdir()
    Path("study/study.yaml").write_text(
        "name: study\nbudget: {}\nmeasure: {device: cpu}\ntrain: {}\nsearch: {trials: 1}\n"
        "mixers: []\n"
    )
    trial = {"number": 0, "state": "COMPLETE", "spec": {"stages": []}, "score": {"value": 0.5}}
    Path("study/trials.jsonl").write_text(json.dumps(trial) + "\n")
    exported = Path("study-trial0-folder")
    exported.mkdir()
    (exported / "README.md").touch()


def test_an_init_runs_when_a_name_of_the_package_is_asked_for(tmp_path: Path) -> None:
    package = tmp_path / "late_package"
    package.mkdir()
    (package / "__init__.py").write_text("from late_package.part import ONE\nTWO = 2\n")
    (package / "part.py").write_text("ONE = 1\n")
    sys.path.insert(0, str(tmp_path))
    try:
        postpone("late_package")
        from late_package.part import ONE  # type: ignore[import-not-found]

        assert ONE == 1
        assert "TWO" not in vars(sys.modules["late_package"])
        from late_package import TWO  # type: ignore[import-not-found]

        assert TWO == 2
        postpone("late_package")
        assert sys.modules["late_package"].TWO == 2
    finally:
        sys.path.remove(str(tmp_path))
        for name in ("late_package", "late_package.part"):
            sys.modules.pop(name, None)


def test_a_package_that_is_not_there_stays_away() -> None:
    postpone("no_such_package")
    assert "no_such_package" not in sys.modules

"""Damage what the commands read, in hundreds of seeded ways, and check what each command does.

    python benchmarks/damage.py --seed 0 --out FILE
    python benchmarks/damage.py --only study:journal.log:empty --commands resume

Victims are a study's folder, plugins.toml, an image folder, an installed distribution, the working
directory and the environment. Each command runs on a fresh copy, in a process forked from one that
has imported the libraries; those of kinds workdir and distribution in an interpreter of their own.
Exit code 1 if a command ends with an exit code that is not documented, prints a traceback, no
message or control characters, does not end, loses a record, writes outside, or runs code from the
working directory.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from damage_kinds import DEFAULT_PLUGINS, DIST, METADATA, POINT, Damage, damages, good_module
from faults_study import STUDY
from PIL import Image
from provenance import provenance

EXIT_CODES = (0, 2, 3, 4, 5, 130)
SPEC = """\
schema: 1
name: probe
num_classes: 2
image_size: 8
stem: {kernel_size: 2, stride: 2, norm: batch_norm}
stages:
  - {depth: 1, width: 4, block: metanext, mixer: MIXER, norm: batch_norm}
head: {norm: layer_norm}
"""
FOLDER = "runs/small"
PLAN = ("plan", "study.yaml", "--measurements", "0", "--device", "cpu")
ON_IMAGES = ("--data", "folder:{box}/images")
COMMANDS: dict[str, tuple[tuple[str, ...], ...]] = {
    "study": (
        ("status", FOLDER),
        ("status", FOLDER, "--json"),
        ("resume", FOLDER),
        ("rerun", FOLDER, "0"),
        ("export", FOLDER, "--to", "folder", "--out", "out"),
        ("fork", FOLDER, "--name", "forked"),
    ),
    "plugins": (
        ("mixers",),
        ("mixers", "show", "identity"),
        ("spec", "identity.yaml"),
        PLAN,
        ("doctor",),
        ("status", FOLDER),
    ),
    "images": ((*PLAN, *ON_IMAGES), ("run", "images.yaml", "--device", "cpu", *ON_IMAGES)),
    "distribution": (
        ("mixers",),
        ("mixers", "show", "probe"),
        ("spec", "probe.yaml"),
        ("spec", "identity.yaml"),
        PLAN,
    ),
    "workdir": (("status", FOLDER), ("spec", "identity.yaml"), ("resume", FOLDER)),
    "environment": (
        ("status", FOLDER),
        ("spec", "identity.yaml"),
        ("mixers",),
        ("doctor",),
        ("export", FOLDER, "--to", "folder", "--out", "out"),
    ),
}
# studies that are damaged: what differs in study.yaml, and options of the command line
STUDIES: dict[str, tuple[tuple[str, str], tuple[str, ...]]] = {
    "finished": (("", ""), ()),
    "interrupted": (("", ""), ("--time-limit", "0.000001")),
    "measured": (("budget: {params: 1000}", "budget: {train: 1}"), ()),
    "failed": (("epochs: 1}", "epochs: 1, learning_rate: 1.0e+30}"), ()),
}
IMPORTED = (  # before anything is forked
    "metaformer", "mixers", "search.workers", "search.planning.plan", "search.study.runner", "timm",
    "optuna",
)  # fmt: skip
ALONE = ("workdir", "distribution")  # kinds that may keep the libraries from being imported
Main = Callable[[], Any]


@dataclass(frozen=True)
class Result:
    """Result of one command; `code` is None if it did not end in time."""

    code: int | None
    stdout: bytes
    stderr: bytes


class Victims:
    """Undamaged victims, made once; `sandbox` is a fresh copy of all of them."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._made = place / "made"
        for folder in ("work", "home", "outside", "site", "images"):
            (self._made / folder).mkdir(parents=True)
        self._texts()
        self._images()
        self._studies()

    def _texts(self) -> None:
        study = STUDY.replace("EPOCHS", "1").replace("name: faults", "name: small")
        study = study.replace("trials: 16", "trials: 2")
        texts = {
            "work/study.yaml": study,
            "work/images.yaml": study.replace("trials: 2", "trials: 1"),
            "work/identity.yaml": SPEC.replace("MIXER", "identity"),
            "work/probe.yaml": SPEC.replace("MIXER", "probe"),
            "work/plugins.toml": DEFAULT_PLUGINS,
            "site/probe_module.py": good_module(),
            f"{DIST}/METADATA": METADATA + "Version: 1.0\n",
            f"{DIST}/entry_points.txt": POINT,
        }
        for name, text in texts.items():
            path = self._made / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)

    def _images(self) -> None:
        dice = random.Random(0)
        for split in ("train", "validation", "test"):
            for label in "ab":
                folder = self._made / "images" / split / label
                folder.mkdir(parents=True)
                for number in range(8):
                    Image.frombytes("RGB", (8, 8), dice.randbytes(192)).save(
                        folder / f"{number}.png"
                    )

    def _studies(self) -> None:
        for name, (change, more) in STUDIES.items():
            box = self._place / f"begin-{name}"
            shutil.copytree(self._made, box)
            file = box / "work/study.yaml"
            file.write_text(file.read_text().replace(*change))
            command = ("run", "study.yaml", "--device", "cpu", "--baseline", "identity.yaml", *more)
            done = run_process(command, box, environment(box), 300)
            if done.code not in (0, 3, 5):
                raise RuntimeError(f"the study could not be made:\n{done.stderr.decode()}")
            shutil.move(box / "work/runs/small", self._place / name)

    def sandbox(self, damage: Damage, number: int) -> Path:
        box = self._place / f"box-{number}"
        shutil.copytree(self._made, box, symlinks=True)
        shutil.copytree(self._place / damage.study, box / "work/runs/small", symlinks=True)
        return box


def environment(box: Path, damage: Damage | None = None) -> dict[str, str]:
    variables = {
        key: value for key, value in os.environ.items() if not key.startswith(("XDG_", "PYTHON"))
    }
    variables |= {
        "HOME": str(box / "home"),
        "OMP_NUM_THREADS": "1",
        "DAMAGE_MARKER": str(box / "marker"),
    }
    for key, value in (damage.environment if damage else {}).items():
        variables.pop(key, None)
        if value is not None:
            variables[key] = value.replace("{box}", str(box))
    return variables


def run_process(
    command: tuple[str, ...], box: Path, variables: dict[str, str], limit: float
) -> Result:
    """Run the real command line in an interpreter of its own."""
    script = Path(sys.executable).with_name("search")
    return _wait(_spawn_process([str(script), *command], box, variables), box, limit)


def _spawn_process(command: list[str], box: Path, variables: dict[str, str]) -> int:
    with (box / "stdout").open("wb") as out, (box / "stderr").open("wb") as err:
        process = subprocess.Popen(
            command, cwd=box / "work", env=variables, stdin=subprocess.DEVNULL, stdout=out,
            stderr=err, start_new_session=True,
        )  # fmt: skip
    return process.pid


def run_forked(
    main: Main, command: tuple[str, ...], box: Path, damage: Damage, limit: float
) -> Result:
    """Run `main` in a fork of this process, as the command line would be run."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        _become_command(main, command, box, damage)
    return _wait(pid, box, limit)


def _become_command(main: Main, command: tuple[str, ...], box: Path, damage: Damage) -> None:
    code = 1
    try:
        os.setsid()
        os.chdir(box / "work")
        variables = environment(box, damage)
        os.environ.clear()
        os.environ.update(variables)
        for number, name in enumerate((os.devnull, str(box / "stdout"), str(box / "stderr"))):
            file = os.open(name, (os.O_WRONLY | os.O_CREAT) if number else os.O_RDONLY)
            os.dup2(file, number)
            os.close(file)
        for number in damage.closed:
            os.close(number)
            setattr(sys, ("stdin", "stdout", "stderr")[number], None)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.argv = ["search", *command]
        sys.path = [entry for entry in sys.path if not entry.endswith("benchmarks")]
        main()
        code = 0
    except SystemExit as end:
        if isinstance(end.code, str):
            os.write(2, end.code.encode())
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - what an interpreter would print
        with suppress(OSError):
            os.write(2, traceback.format_exc().encode(errors="replace"))
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):
                stream.flush()
        os._exit(code)


def _wait(pid: int, box: Path, limit: float) -> Result:
    """The result of the process, which is killed with all that it started after `limit` seconds."""
    deadline = time.monotonic() + limit
    code: int | None = None
    while time.monotonic() < deadline:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            break
        time.sleep(0.01)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    if code is None:
        os.waitpid(pid, 0)
    return Result(code, (box / "stdout").read_bytes(), (box / "stderr").read_bytes())


def snapshot(box: Path) -> dict[str, str]:
    """Return the files outside the places where commands may write, by path."""
    allowed = [box / name for name in ("work/runs", "work/out", "home/.cache", "stdout", "stderr")]
    found = {}
    for folder, folders, files in os.walk(box):
        folders[:] = [name for name in folders if Path(folder, name) not in allowed]
        for name in files + folders:
            path = Path(folder, name)
            if path in allowed or name == "__pycache__" or "__pycache__" in path.parts:
                continue
            facts = path.lstat()
            what = f"{stat.S_IFMT(facts.st_mode):o}"
            if stat.S_ISREG(facts.st_mode):
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                what += f" {facts.st_mtime_ns} {facts.st_size} {digest}"
            elif stat.S_ISLNK(facts.st_mode):
                what += f" {os.readlink(path)}"
            found[str(path.relative_to(box))] = what
    return found


def contents(folder: Path) -> dict[str, bytes]:
    found = {}
    for path in folder.rglob("*") if folder.is_dir() else ():
        if stat.S_ISREG(path.lstat().st_mode):
            found[str(path)] = path.read_bytes()
    return found


def records(folder: Path) -> set[bytes]:
    """Lines of finished trials and of the journal, as they lie on disk."""
    return {
        line
        for name, data in contents(folder).items()
        if name.endswith((".jsonl", ".log"))
        for line in data.split(b"\n")
        if line.strip()
    }


def judge(
    result: Result, before: dict[str, str], box: Path, kept: set[bytes]
) -> list[tuple[str, str]]:
    """The sort of each violation, and what was observed."""
    found = []
    output = result.stdout + result.stderr
    last = output.decode(errors="replace").strip().splitlines()[-1:] or [""]
    if result.code is None:
        found.append(("hang", last[0][:160]))
    elif result.code not in EXIT_CODES:
        found.append(("exit code", f"{result.code}: {last[0][:160]}"))
    if b"Traceback (most recent call last)" in output:
        found.append(("traceback", last[0][:160]))
    if result.code not in (0, 3, None) and not result.stderr.strip():
        found.append(("no message", f"exit code {result.code}"))
    text = output.decode(errors="replace")
    characters = sorted(
        {c for c in text if (ord(c) < 32 and c not in "\n\t") or 127 <= ord(c) < 160}
    )
    if characters:
        found.append(("control characters", repr("".join(characters))))
    after = snapshot(box)
    if "marker" in after:
        found.append(("code was run", "the marker was written"))
    changed = sorted(
        name
        for name in before.keys() | after.keys()
        if name != "marker" and before.get(name) != after.get(name)
    )
    if changed:
        found.append(("written outside", ", ".join(changed)[:160]))
    left = b"\n".join(contents(box / "work/runs/small").values())
    lost = [line for line in kept if line not in left]
    if lost:
        found.append(("lost", f"{len(lost)} lines, such as {lost[0][:60]!r}"))
    return found


class Run:
    """Runs damages one after the other; `main` stands for the command line."""

    def __init__(self, place: Path, seed: int, main: Main, limit: float = 60.0) -> None:
        self._victims = Victims(place)
        self._place, self._seed, self._main, self._limit = place, seed, main, limit
        self._number = 0
        self.rows: list[dict[str, str]] = []
        self.run = Counter[str]()
        self.damaged = Counter[str]()
        self.codes = Counter[str]()

    def damage(self, damage: Damage, wanted: tuple[str, ...] = ()) -> None:
        self.damaged[damage.kind] += 1
        for command in COMMANDS[damage.kind]:
            if not wanted or command[0] in wanted:
                self._command(damage, command)

    def _command(self, damage: Damage, template: tuple[str, ...]) -> None:
        self._number += 1
        box = self._victims.sandbox(damage, self._number)
        pristine = records(box / "work/runs/small")
        try:
            damage.change(box, random.Random(f"{self._seed} {damage.name}"))
        except (ValueError, IndexError) as error:
            print(f"skipped            {damage.name:<38} cannot be done: {error}", flush=True)
            shutil.rmtree(box)
            return
        kept = pristine & records(box / "work/runs/small")
        command = tuple(word.replace("{box}", str(box)) for word in template)
        before = snapshot(box)
        if damage.kind in ALONE:
            result = run_process(command, box, environment(box, damage), self._limit)
        else:
            result = run_forked(self._main, command, box, damage, self._limit)
        self.run[damage.kind] += 1
        self.codes[str(result.code)] += 1
        silent = bool(set(damage.closed) & {1, 2})
        if template[0] == "doctor" and result.stdout.strip():
            silent = True  # its findings are what it prints
        for sort, observed in judge(result, before, box, kept):
            if sort == "no message" and silent:
                continue
            observed = observed.replace(str(box), "BOX")
            row = {
                "kind": damage.kind,
                "damage": damage.name,
                "command": " ".join(template),
                "sort": sort,
                "observed": observed,
            }
            self.rows.append(row)
            print(f"{sort:<18} {damage.name:<38} {row['command']:<34} {observed}", flush=True)
        shutil.rmtree(box)


def summary(run: Run) -> list[dict[str, Any]]:
    """Per kind: damages, commands and violations by sort."""
    return [
        {
            "kind": kind,
            "damages": number,
            "commands": run.run[kind],
            "violations": Counter(row["sort"] for row in run.rows if row["kind"] == kind),
        }
        for kind, number in run.damaged.items()
    ]


@click.command(help=__doc__)
@click.option("--seed", default=0, help="Seed of the damages.")
@click.option("--kinds", multiple=True, type=click.Choice(list(COMMANDS)), help="[default: all]")
@click.option("--only", multiple=True, help="Names of damages, or how they begin.")
@click.option("--commands", multiple=True, help="Commands that are run, such as resume.")
@click.option("--sample", type=int, help="So many damages of each kind, drawn by the seed.")
@click.option("--limit", default=60.0, help="Seconds until a command counts as hanging.")
@click.option("--seconds", type=float, help="Begin no damage after so many seconds.")
@click.option("--out", type=click.Path(path_type=Path), help="JSON file of the result.")
def main(
    seed: int,
    kinds: tuple[str, ...],
    only: tuple[str, ...],
    commands: tuple[str, ...],
    sample: int | None,
    limit: float,
    seconds: float | None,
    out: Path | None,
) -> None:
    import search.cli

    begin = time.monotonic()
    chosen = [
        d
        for d in damages()
        if (not kinds or d.kind in kinds) and (not only or d.name.startswith(only))
    ]
    dice = random.Random(seed)
    if sample is not None:
        dice.shuffle(chosen)
        drawn = Counter[str]()
        few = []
        for one in chosen:
            drawn[one.kind] += 1
            if drawn[one.kind] <= sample:
                few.append(one)
        chosen = few
    if not chosen:
        raise click.UsageError("no such damage")
    with tempfile.TemporaryDirectory(prefix="damage-") as place:
        run = Run(Path(place), seed, search.cli.main, limit)
        warm_up(run)
        for done, one in enumerate(chosen):
            if seconds is not None and time.monotonic() - begin > seconds:
                print(f"out of time: {done} of {len(chosen)} damages")
                break
            run.damage(one, commands)
    rows = summary(run)
    for row in rows:
        sorts = ", ".join(f"{n} {sort}" for sort, n in row["violations"].items()) or "none"
        print(f"{row['kind']:<13} {row['damages']:4} damages {row['commands']:5} commands: {sorts}")
    if run.rows:
        print(f"to repeat one: python benchmarks/damage.py --seed {seed} --only DAMAGE")
    if out is not None:
        result = {
            "provenance": provenance(),
            "seed": seed,
            "planned": len(chosen),
            "seconds": round(time.monotonic() - begin, 1),
            "exit_codes": run.codes,
            "summary": rows,
            "violations": run.rows,
        }
        out.write_text(json.dumps(result, indent=1) + "\n")
    sys.exit(bool(run.rows))


def warm_up(run: Run) -> None:
    """Import in this process what the commands import when they are needed."""
    import torch

    for name in IMPORTED:
        importlib.import_module(name)
    torch.set_num_threads(1)


if __name__ == "__main__":
    main()

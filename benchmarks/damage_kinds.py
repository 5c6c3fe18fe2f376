"""Kinds of damage: mutations of any file, and specific ones of each victim.

A damage is a function of a sandbox (see `damage.py`) and of a random generator that is seeded with
the run's seed and the damage's name, so that each can be repeated alone.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from PIL import Image

Change = Callable[[Path, random.Random], None]
SCALARS = (None, -1, 1e308, "text", "\x1b[31mred", [], {}, [[1]], True, "a/b", 10**30)
DEFAULT_PLUGINS = 'schema = 1\n[allow]\nmetaformer-search = "*"\nprobe-mixers = "*"\n'
DIST = "site/probe_mixers-1.0.dist-info"
MARK = "import os, pathlib\npathlib.Path(os.environ['DAMAGE_MARKER']).write_text('run')\n"


@dataclass(frozen=True)
class Damage:
    """One damage. `change` gets the sandbox; `environment` maps variables, None removes one."""

    kind: str
    name: str
    change: Change
    study: str = "finished"
    environment: dict[str, str | None] = field(default_factory=dict)
    closed: tuple[int, ...] = ()  # file descriptors that the command begins without


def _flip(path: Path, dice: random.Random) -> None:
    data = bytearray(path.read_bytes())
    if data:
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    path.write_bytes(data)


def _truncate(path: Path, dice: random.Random) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: dice.randrange(max(len(data), 1))])


def _lines(change: Callable[[list[bytes], random.Random], None]) -> Change:
    def apply(path: Path, dice: random.Random) -> None:
        lines = path.read_bytes().splitlines(keepends=True)
        if lines:
            change(lines, dice)
        path.write_bytes(b"".join(lines))

    return apply


def _duplicate(lines: list[bytes], dice: random.Random) -> None:
    place = dice.randrange(len(lines))
    lines.insert(place, lines[place])


def _swap(lines: list[bytes], dice: random.Random) -> None:
    first, second = dice.randrange(len(lines)), dice.randrange(len(lines))
    lines[first], lines[second] = lines[second], lines[first]


def _remove_line(lines: list[bytes], dice: random.Random) -> None:
    del lines[dice.randrange(len(lines))]


def _insert(what: bytes) -> Change:
    def apply(path: Path, dice: random.Random) -> None:
        data = path.read_bytes()
        place = dice.randrange(len(data) + 1)
        path.write_bytes(data[:place] + what + data[place:])

    return apply


def _retype(path: Path, dice: random.Random) -> None:
    """Replace a value at a random path of a JSON (by line) or YAML file by one of another type."""
    text = path.read_text(encoding="utf-8", errors="replace")
    if path.suffix == ".yaml":
        tree = yaml.safe_load(text)
        _replace_value(tree, dice)
        path.write_text(yaml.safe_dump(tree))
    elif path.suffix == ".json":
        tree = json.loads(text)
        _replace_value(tree, dice)
        path.write_text(json.dumps(tree))
    elif path.suffix in (".jsonl", ".log"):
        lines = text.splitlines()
        place = dice.randrange(len(lines))
        tree = json.loads(lines[place])
        _replace_value(tree, dice)
        lines[place] = json.dumps(tree)
        path.write_text("\n".join(lines) + "\n")
    else:
        _flip(path, dice)


def _replace_value(tree: object, dice: random.Random) -> None:
    places: list[tuple[dict[str, object] | list[object], str | int]] = []

    def walk(node: object) -> None:
        if isinstance(node, dict):
            keys: list[str | int] = list(node)
        elif isinstance(node, list):
            keys = list(range(len(node)))
        else:
            return
        for key in keys:
            places.append((node, key))
            walk(node[key])

    walk(tree)
    if places:
        node, key = dice.choice(places)
        node[key] = dice.choice(SCALARS)  # type: ignore[index, call-overload]


def _write(data: bytes) -> Change:
    def apply(path: Path, dice: random.Random) -> None:
        _discard(path)
        path.write_bytes(data)

    return apply


def _discard(path: Path) -> None:
    if path.is_symlink() or path.exists():
        path.unlink()


def _link(path: Path, dice: random.Random) -> None:
    """The file becomes a link to a copy of it that is not the study's."""
    target = _outside(path) / path.name
    target.write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(target)


def _hard_link(path: Path, dice: random.Random) -> None:
    target = _outside(path) / path.name
    target.write_bytes(path.read_bytes())
    path.unlink()
    os.link(target, path)


def _dangling(path: Path, dice: random.Random) -> None:
    path.unlink()
    path.symlink_to(_outside(path) / "nothing")


def _loop(path: Path, dice: random.Random) -> None:
    path.unlink()
    path.symlink_to(path.name)


def _fifo(path: Path, dice: random.Random) -> None:
    path.unlink()
    os.mkfifo(path)


def _folder(path: Path, dice: random.Random) -> None:
    path.unlink()
    path.mkdir()
    (path / "inside").write_text("x")


def _outside(path: Path) -> Path:
    """The folder that no command may write to."""
    return next(parent for parent in path.parents if (parent / "outside").is_dir()) / "outside"


MUTATIONS: dict[str, Change] = {
    "flipped": _flip,
    "truncated": _truncate,
    "line-twice": _lines(_duplicate),
    "lines-swapped": _lines(_swap),
    "line-removed": _lines(_remove_line),
    "retyped": _retype,
    "escape": _insert(b"\x1b[31m\x07"),
    "nul": _insert(b"\0"),
    "not-utf8": _insert(b"\xff\xfe"),
    "bom": lambda path, dice: path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes()) and None,
    "crlf": lambda path, dice: path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n")) and None,
    "empty": _write(b""),
    "removed": lambda path, dice: path.unlink(),
    "link": _link,
    "hard-link": _hard_link,
    "dangling": _dangling,
    "loop": _loop,
    "fifo": _fifo,
    "folder": _folder,
    "noise": lambda path, dice: path.write_bytes(dice.randbytes(3000)) and None,
}
STUDY_FILES = (
    "study.yaml", "journal.log", "trials.jsonl", "baselines.jsonl", "best.yaml",
    "best.safetensors", "summary.json", "study.lock", "journal.lock",
)  # fmt: skip
TEXTLESS = ("line-twice", "lines-swapped", "line-removed", "retyped", "bom", "crlf", "flipped")


def at(place: str, change: Change) -> Change:
    return lambda box, dice: change(box / place, dice)


def _study_damages() -> list[Damage]:
    found = []
    for name in STUDY_FILES:
        for mutation, change in MUTATIONS.items():
            if name.endswith(".lock") and mutation in TEXTLESS:
                continue
            damage = at(f"work/runs/small/{name}", change)
            found.append(Damage("study", f"study:{name}:{mutation}", damage))
    for name in ("study.yaml", "trials.jsonl", "summary.json", "best.yaml", "best.safetensors"):
        place = f"work/runs/small/{name}.partial"
        found.append(Damage("study", f"study:{name}.partial:link", _planted_link(place)))
    found.append(
        Damage("study", "study:errors.log:link", _planted_link("work/runs/small/errors.log"))
    )
    for text in ("name: a/b", "name: ../outside", 'name: "a\\eb"', "name: 7"):
        found.append(Damage("study", f"study:study.yaml:{text}", _replaced("name: small", text)))
    for study in ("interrupted", "measured", "failed"):
        for name in ("journal.log", "trials.jsonl"):
            for mutation in ("truncated", "removed", "empty", "line-removed", "retyped"):
                damage = at(f"work/runs/small/{name}", MUTATIONS[mutation])
                found.append(Damage("study", f"{study}:{name}:{mutation}", damage, study))
    return found


def _planted_link(place: str) -> Change:
    def apply(box: Path, dice: random.Random) -> None:
        (box / "outside/precious").write_text("precious")
        _discard(box / place)
        (box / place).symlink_to(box / "outside/precious")

    return apply


def _replaced(old: str, new: str) -> Change:
    def apply(box: Path, dice: random.Random) -> None:
        path = box / "work/runs/small/study.yaml"
        path.write_text(path.read_text().replace(old, new, 1))

    return apply


POOLING = "schema = 1\n[mixers.pooling]\nsearch = {pool_size = "
PLUGINS = {
    "syntax": "schema = \n",
    "no-schema": "[allow]\n",
    "schema-text": 'schema = "1"\n',
    "unknown-table": "schema = 1\n[alow]\n",
    "same-normalised": 'schema = 1\n[block]\nfoo-mix = "*"\nFoo_Mix = "<0.1"\n',
    "allow-number": "schema = 1\n[allow]\nmetaformer-search = 3\n",
    "allow-list": "schema = 1\nallow = []\n",
    "hostile-name": 'schema = 1\n[allow]\n"../x\\u001b[31m" = "*"\n',
    "escape-in-version": 'schema = 1\n[block]\nprobe-mixers = "\\u001b]0;x\\u0007"\n',
    "huge-number": "schema = " + "9" * 5000 + "\n",
    "deep": "schema = 1\n[mixers.identity]\ndefaults = {a = " + "[" * 3000 + "]" * 3000 + "}\n",
    "local-missing": 'schema = 1\n[local]\nmine = "nothing.py:Mine"\n',
    "local-syntax": 'schema = 1\n[local]\nmine = "plugins.toml:Mine"\n',
    "local-outside": 'schema = 1\n[local]\nmine = "../outside/x.py:Mine"\n',
    "local-device": 'schema = 1\n[local]\nmine = "/dev/zero:Mine"\n',
    "reserved-name": 'schema = 1\n[local]\nany = "mine.py:Mine"\n',
    "search-empty": "schema = 1\n[mixers.pooling]\nsearch = {pool_size = []}\n",
    "search-nan": "schema = 1\n[mixers.pooling]\nsearch = {pool_size = [nan]}\n",
    "search-inf": "schema = 1\n[mixers.pooling]\nsearch = {pool_size = {low = -inf, high = inf}}\n",
    "search-step-zero": POOLING + "{low = 1, high = 9, step = 0}}\n",
    "log-text": POOLING + '{low = 1, high = 9, log = "no"}}\n',
    "enabled-text": 'schema = 1\n[mixers.identity]\nenabled = "no"\n',
    "all-disabled": 'schema = 1\n[block]\nmetaformer-search = "*"\n',
    "date": "schema = 1\n[mixers.pooling]\ndefaults = {pool_size = 2020-01-01}\n",
}


def _plugins_damages() -> list[Damage]:
    place = "work/plugins.toml"
    found = [
        Damage("plugins", f"plugins:{name}", at(place, _write(text.encode())))
        for name, text in PLUGINS.items()
    ]
    found += [
        Damage("plugins", f"plugins:{name}", at(place, change))
        for name, change in MUTATIONS.items()
        if name != "retyped"
    ]
    return [*found, Damage("plugins", "plugins:local-runs-unasked", _local_marker)]


def _local_marker(box: Path, dice: random.Random) -> None:
    (box / "work/mine.py").write_text(MARK + "class Mine: pass\n")
    (box / "work/plugins.toml").write_text('schema = 1\n[local]\nmine = "mine.py:Mine"\n')


ONE = "images/train/a/0.png"


def _image(mode: str, suffix: str = "png") -> Change:
    def apply(box: Path, dice: random.Random) -> None:
        (box / ONE).unlink()
        Image.new(mode, (8, 8)).save(box / f"images/train/a/0.{suffix}", format=suffix.upper())

    return apply


def _named(name: bytes) -> Change:
    def apply(box: Path, dice: random.Random) -> None:
        os.rename(box / ONE, os.fsencode(box / "images/train/a/") + b"/" + name)

    return apply


def _bomb(box: Path, dice: random.Random) -> None:
    Image.new("1", (20000, 20000)).save(box / ONE)


def _across(box: Path, dice: random.Random) -> None:
    _discard(box / "images/validation/a/0.png")
    (box / "images/validation/a/0.png").symlink_to(box / ONE)


def _without(*places: str) -> Change:
    def apply(box: Path, dice: random.Random) -> None:
        for place in places:
            (box / place).rename(box / "outside" / place.replace("/", "-"))

    return apply


def _folder_loop(box: Path, dice: random.Random) -> None:
    (box / "images/train/a/again").symlink_to(box / "images/train")


def _hidden(box: Path, dice: random.Random) -> None:
    (box / "images/train/.ipynb_checkpoints").mkdir()
    (box / "images/train/.DS_Store").write_bytes(b"\0")


def _image_damages() -> list[Damage]:
    found = {name: at(ONE, MUTATIONS[name]) for name in MUTATIONS if name not in ("retyped", "bom")}
    found |= {
        "suffix": lambda box, dice: (box / ONE).rename(box / "images/train/a/0.jpg") and None,
        "cmyk": _image("CMYK", "tiff"),
        "float": _image("F", "tiff"),
        "int32": _image("I", "tiff"),
        "transparent": _image("LA"),
        "bomb": _bomb,
        "name-not-utf8": _named(b"\xff\xfe.png"),
        "name-newline": _named(b"a\nb.png"),
        "name-escape": _named(b"\x1b[31m.png"),
        "link-across": _across,
        "one-class": _without(*(f"images/{s}/b" for s in ("train", "validation", "test"))),
        "missing-class": _without("images/validation/b"),
        "no-validation": _without("images/validation"),
        "nothing": _without(*(f"images/{s}" for s in ("train", "validation", "test"))),
        "folder-loop": _folder_loop,
        "hidden": _hidden,
    }
    return [Damage("images", f"images:{name}", change) for name, change in found.items()]


METADATA = "Metadata-Version: 2.1\nName: probe-mixers\n"
POINT = "[metaformer.mixers]\nprobe = probe_module:Probe\n"
MODULES = {
    "exits": "raise SystemExit(0)\n",
    "interrupts": "raise KeyboardInterrupt\n",
    "base-exception": "raise BaseException('\\x1b[31m')\n",
    "raises": "raise ValueError('a\\nb\\x07')\n",
    "missing-import": "import nothing_like_it\n",
    "syntax": "def (\n",
    "wrong-object": "Probe = 7\n",
    "no-object": "",
    "no-forward": "from torch import nn\nclass Probe(nn.Module):\n"
    "    def __init__(self, site):\n        super().__init__()\n",
    "bad-annotation": "from __future__ import annotations\nfrom torch import nn\n"
    "class Probe(nn.Module):\n    def __init__(self, site: Nope, k: Nope = 3):\n"
    "        super().__init__()\n",
}
CONSTRUCTORS = {
    "constructor-raises": "raise RuntimeError('no')",
    "constructor-exits": "raise SystemExit(0)",
    "constructor-interrupts": "raise KeyboardInterrupt",
    "constructor-reads": "open('nothing.txt')",
    "constructor-item": "import torch; torch.ones(1).item(); torch.ones(1, device='meta').item()",
}
FORWARDS = {
    "forward-tuple": "return x, x",
    "forward-none": "return None",
    "forward-raises": "raise RuntimeError('\\x1b[31m')",
    "forward-exits": "raise SystemExit(3)",
    "forward-item": "return x * x.sum().item()",
}
GOOD = (
    "from torch import nn\nclass Probe(nn.Module):\n    def __init__(self, site):\n"
    "        super().__init__()\n        {constructor}\n"
    "    def forward(self, x):\n        {forward}\n"
)


def good_module() -> str:
    return GOOD.format(constructor="pass", forward="return x")


def _distribution_damages() -> list[Damage]:
    module, points = "site/probe_module.py", f"{DIST}/entry_points.txt"
    found: dict[str, Change] = {
        f"module-{name}": at(module, _write(text.encode())) for name, text in MODULES.items()
    }
    for name, body in CONSTRUCTORS.items():
        text = GOOD.format(constructor=body, forward="return x")
        found[name] = at(module, _write(text.encode()))
    for name, body in FORWARDS.items():
        text = GOOD.format(constructor="pass", forward=body)
        found[name] = at(module, _write(text.encode()))
    found["module-missing"] = at(module, MUTATIONS["removed"])
    found["no-version"] = at(f"{DIST}/METADATA", _write(METADATA.encode()))
    found["bad-version"] = at(f"{DIST}/METADATA", _write(f"{METADATA}Version: new\n".encode()))
    found["hostile-name"] = at(
        f"{DIST}/METADATA", _write(b"Metadata-Version: 2.1\nName: a\x1b[31m\nVersion: 1\n")
    )
    for name, text in {
        "no-colon": "[metaformer.mixers]\nprobe = probe_module\n",
        "no-equals": "[metaformer.mixers]\nprobe\n",
        "no-section": "probe = probe_module:Probe\n",
        "spaces": "[metaformer.mixers]\nprobe = a b c:::d\n",
        "name-escape": "[metaformer.mixers]\n\x1b[31m = probe_module:Probe\n",
        "reserved": "[metaformer.mixers]\nany = probe_module:Probe\n",
    }.items():
        found[f"points-{name}"] = at(points, _write(text.encode()))
    for name in ("empty", "removed", "not-utf8", "nul", "link", "dangling", "loop", "fifo",
                 "folder", "noise"):  # fmt: skip
        found[f"metadata-{name}"] = at(f"{DIST}/METADATA", MUTATIONS[name])
        found[f"points-{name}"] = at(points, MUTATIONS[name])
    path = {"PYTHONPATH": "{box}/site"}
    return [
        Damage("distribution", f"distribution:{name}", change, environment=path)
        for name, change in found.items()
    ]


def _planted(name: str) -> Change:
    def apply(box: Path, dice: random.Random) -> None:
        path = box / "work" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(MARK)

    return apply


def _home_is_file(box: Path, dice: random.Random) -> None:
    (box / "home-file").write_text("x")


def _dangling_cache(box: Path, dice: random.Random) -> None:
    (box / "cache").symlink_to(box / "outside/nothing")


def _nothing(box: Path, dice: random.Random) -> None:
    """The environment is the damage."""


def _environment_damages() -> list[Damage]:
    def of(name: str, change: Change = _nothing, **variables: str | None) -> Damage:
        return Damage("environment", f"environment:{name}", change, environment=variables)

    return [
        of("no-home", HOME=None),
        of("home-empty", HOME=""),
        of("home-file", _home_is_file, HOME="{box}/home-file"),
        of("home-nowhere", HOME="/nonexistent/x"),
        of("cache-dangling", _dangling_cache, XDG_CACHE_HOME="{box}/cache"),
        of("cache-file", _home_is_file, XDG_CACHE_HOME="{box}/home-file"),
        of("dumb", TERM="dumb"),
        of("no-color", NO_COLOR="1"),
        of("narrow", COLUMNS="5"),
        of("columns-text", COLUMNS="wide"),
        Damage("environment", "environment:no-stdin", _nothing, closed=(0,)),
        Damage("environment", "environment:no-stdout", _nothing, closed=(1,)),
        Damage("environment", "environment:no-stderr", _nothing, closed=(2,)),
    ]


HOSTILE = (
    "torch.py", "search.py", "mixers/__init__.py", "yaml.py", "sitecustomize.py", "json.py",
    "numpy.py", "optuna/__init__.py", "timm.py", "usercustomize.py", "click.py", "PIL/__init__.py",
)  # fmt: skip


def damages() -> list[Damage]:
    """Every damage, in a fixed order."""
    hostile = [Damage("workdir", f"workdir:{name}", _planted(name)) for name in HOSTILE]
    return [
        *_study_damages(), *_plugins_damages(), *_image_damages(), *_distribution_damages(),
        *_environment_damages(), *hostile,
    ]  # fmt: skip

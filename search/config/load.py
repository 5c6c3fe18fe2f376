"""Reading a study: three layers, each over the one before.

The device's defaults (`search/defaults/*.yaml`), the study file, the command line. A `space`
replaces as a whole.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, TypeAlias

from metaformer.errors import Problem, SpecError, distinct
from metaformer.extends import merge, resolve_extends, zoo_names
from metaformer.spec_yaml import shorten, validate_node
from metaformer.yaml_tree import Node, plain_node, read_yaml
from search.config.locate import legal_name, require_study_file
from search.config.study import Study, StudyConfig
from search.data import DataSource, read_source
from search.devices import device_name_problem, precision_problem, require_device
from search.errors import EnvironmentProblem, UsageError

DEFAULTS = Path(__file__).parent / "defaults"
_SECTIONS = ("budget", "measure", "train", "search")
_THROUGHPUTS = ("train", "infer")
_NOT_SETTINGS = ("space", "mixers", "data", "trainer")
LARGE_CPU_IMAGE = 64  # from here on the CPU's default space has a stem of stride 4


def load_study(
    file: str | Path | None, overrides: dict[str, Any], *, device: str | None = None
) -> Study:
    """The study of `file` (none: the device's default) under the command line's `overrides`.

    `overrides` are nested like the file; a budget of images per second replaces the file's, in
    whichever mode. A study without a name has its file's. `device` is cpu or cuda:N; without it
    the file's `measure.device` counts, else the best one here. SpecError for what is wrong in the
    file, UsageError for a setting that is missing, EnvironmentProblem for a device that is not
    there.
    """
    own = _read_study(file) if file is not None else plain_node({}, source="")
    said = plain_node(overrides, source="command line")
    asked = merge(_without_replaced_budget(own, said), said)
    device = device or str(require_device(_asked_device(asked)))
    defaults = _defaults(device, asked)
    entries = dict(merge(defaults, _without(asked, "space")).map)
    space = own.map.get("space", defaults.map["space"])
    for key in _NOT_SETTINGS:
        entries.pop(key, None)
    node = Node(entries, asked.mark, asked.key_marks)
    problems: list[Problem] = []
    source = _data_source(node, problems)
    problems += _precision_problems(node, device)
    data = node.plain()
    _complete(data, device)
    if source is not None:
        data["train"]["data"] = str(source)
    _place_baselines(node, data)
    named = Path(file).stem if file is not None else _what_was_asked(source, data["budget"])
    data.setdefault("name", legal_name(named))
    config = validate_node(StudyConfig, node, data, problems, sugar=("space",))
    chain = (Path(file).resolve(),) if file is not None else ()
    mixers, known_data, trainer = _frozen(own)
    return Study(config, resolve_extends(space, chain=chain), mixers, known_data, trainer)


def asked_device(file: str | Path | None, overrides: dict[str, Any]) -> str:
    """The device that file and command line ask for: cpu, cuda, cuda:N or auto."""
    own = _read_study(file) if file is not None else plain_node({}, source="")
    return _asked_device(merge(own, plain_node(overrides, source="command line")))


_Known: TypeAlias = dict[str, Any] | None


def _frozen(own: Node) -> tuple[tuple[dict[str, Any], ...], _Known, _Known]:
    """Fingerprints in a run folder's study.yaml: mixers, data, trainer."""
    mixers, data, trainer = (own.map.get(key) for key in ("mixers", "data", "trainer"))
    known_mixers = mixers.plain() if mixers is not None else []
    if mixers is not None and not Study.is_frozen_mixers(known_mixers):
        words = (
            "is written by `search run` into a run folder's study.yaml; "
            "say which mixers are searched in the space"
        )
        raise SpecError(Problem("mixers", words, own.key_marks["mixers"]))
    known_data = data.plain() if data is not None else None
    if data is not None and not Study.is_frozen_data(known_data):
        words = "is written by `search run` into a run folder's study.yaml; train.data names data"
        raise SpecError(Problem("data", words, own.key_marks["data"]))
    if trainer is not None and not isinstance(trainer.value, dict):
        words = "is written by `search run`; train.trainer names a trainer"
        raise SpecError(Problem("trainer", words, own.key_marks["trainer"]))
    return tuple(known_mixers), known_data, trainer.plain() if trainer is not None else None


def _read_study(file: str | Path) -> Node:
    require_study_file(file)
    node = read_yaml(file)
    if not isinstance(node.value, dict):
        raise SpecError(Problem("", "a study must be a map of keys and values", node.mark))
    problems = [
        Problem(
            key,
            f"got {shorten(node.map[key].plain())}; allowed: a map of settings",
            node.map[key].mark,
        )
        for key in _SECTIONS
        if key in node.map and not isinstance(node.map[key].value, dict)
    ]
    if problems:
        raise SpecError(distinct(problems))
    if "stages" in node.map and "space" not in node.map:
        words = "this is a backbone; a study holds it under space, next to budget and the rest"
        raise SpecError(Problem("stages", words, node.key_marks["stages"]))
    return node


def _asked_device(asked: Node) -> str:
    measure = asked.map.get("measure")
    device = measure.map.get("device") if measure is not None else None
    if device is None:
        return "auto"
    if problem := device_name_problem(device.plain()):
        raise SpecError(Problem("measure.device", problem, device.mark))
    return str(device.value)


def _defaults(device: str, asked: Node) -> Node:
    if device.startswith("cuda"):
        import torch

        defaults = read_yaml(DEFAULTS / "cuda.yaml")
        if precision_problem("tf32", torch.device(device)):
            plain = {section: {"precision": "fp32"} for section in ("measure", "train")}
            defaults = merge(defaults, plain_node(plain, source=""))
        return defaults
    measure = asked.map.get("measure")
    size = measure.map.get("image_size") if measure is not None else None
    large = size is not None and isinstance(size.value, int) and size.value >= LARGE_CPU_IMAGE
    return read_yaml(DEFAULTS / ("cpu_64.yaml" if large else "cpu.yaml"))


def _without_replaced_budget(own: Node, said: Node) -> Node:
    """The file's settings without its throughput budgets, if the command line has one."""
    new, old = said.map.get("budget"), own.map.get("budget")
    if new is None or old is None or not new.map.keys() & _THROUGHPUTS:
        return own
    for mode in _THROUGHPUTS:
        old = _without(old, mode)
    return Node({**own.map, "budget": old}, own.mark, own.key_marks)


def _data_source(node: Node, problems: list[Problem]) -> DataSource | None:
    """Data source named by `train.data`; a mistake in it is added to `problems`, with its place."""
    train = node.map.get("train")
    data = train.map.get("data") if train is not None else None
    if data is None or not isinstance(data.value, str):
        return None
    in_file = data.mark.line > 0
    where = "train.data" if in_file else "--data"
    try:
        return read_source(data.value)
    except UsageError as error:
        problems.append(Problem(where, str(error), data.mark if in_file else None))
    except PermissionError as error:
        place = f"{data.mark}: {where}" if in_file else where
        raise EnvironmentProblem(f"{place}: {error.filename}: permission denied") from error
    return None


def _precision_problems(node: Node, device: str) -> list[Problem]:
    """Precisions that a CUDA device lacks, at their places; of a CPU MeasureConfig says it."""
    if not device.startswith("cuda"):
        return []
    import torch

    problems = []
    for section in ("measure", "train"):
        asked = node.map[section].map.get("precision") if section in node.map else None
        if asked is None or not isinstance(asked.value, str):
            continue
        if words := precision_problem(asked.value, torch.device(device)):
            in_file = asked.mark.line > 0
            where = f"{section}.precision" if in_file else "--precision"
            problems.append(Problem(where, words, asked.mark if in_file else None))
    return problems


def _without(node: Node, key: str) -> Node:
    entries = {name: value for name, value in node.map.items() if name != key}
    return Node(entries, node.mark, node.key_marks)


def _complete(data: dict[str, Any], device: str) -> None:
    """Fills in what follows from the rest: device and training size."""
    search = data.get("search")
    if isinstance(search, dict) and search.get("objective", "accuracy") != "accuracy":
        data["budget"] = data.get("budget") or {}  # a front needs none
    if data.get("budget") is None:
        raise UsageError(
            "a budget is needed: --budget-throughput N, or budget: {train: N} in the study file"
        )
    for section in ("measure", "train"):
        if not isinstance(data.get(section), dict):
            return  # pydantic says what is wrong with it
    data["measure"]["device"] = device
    size = data["measure"].get("image_size")
    legal = isinstance(size, int) and 4 <= size <= 8192  # else it is named once, under measure
    data["train"].setdefault("image_size", size if legal else 4)


def _place_baselines(node: Node, data: dict[str, Any]) -> None:
    """Baselines that are files get their whole paths: they lie next to the study file that names
    them, or if the command line was given."""
    listed = node.map["search"].map.get("baselines")
    if listed is None or not isinstance(listed.value, tuple):
        return
    for index, item in enumerate(listed.value):
        beside = Path(item.mark.source).parent if item.mark.line else Path()
        if isinstance(item.value, str) and item.value not in zoo_names():
            path = beside / os.path.expanduser(item.value)
            if item.value and path.exists():
                data["search"]["baselines"][index] = str(path.resolve())


def _what_was_asked(source: DataSource | None, budget: Any) -> str:
    limits = budget.items() if isinstance(budget, dict) else ()
    parts = [source.short_name if source is not None else "study"]
    parts += [f"{key}{value:.12g}" for key, value in limits if isinstance(value, int | float)]
    return "-".join(parts)

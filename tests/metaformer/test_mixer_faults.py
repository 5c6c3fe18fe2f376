"""A mixer's own mistake is answered with mixer, distribution and version, place and line."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import timm
import torch
from consent import agree

from metaformer import BackboneSpec, SpecError, build_backbone, count_backbone, load_spec
from metaformer.mixer_faults import mixer_at_fault, mixer_faults
from metaformer.spec_yaml import placing
from mixers import MixerRegistry, PluginError, load_registry

SPEC = """\
schema: 1
name: t
num_classes: 10
image_size: 16
stem: {kernel_size: 2, stride: 2}
stages:
  - depth: 2
    width: 8
    block: metanext
    mixer: [identity, local/mine]
    norm: batch_norm
"""
HEAD = """\
from __future__ import annotations
from typing import Annotated
import torch
from torch import nn
from mixers import Choice, Site
"""
PLACE = r"t\.yaml:10:23: stages\[0\]\.mixer\[1\]: local/mine of local [0-9a-f]{12}"


def written(
    constructor: str = "pass",
    forward: str = "return self.conv(x)",
    *,
    options: str = "",
    head: str = "",
    body: str = "",
    base: str = "nn.Module",
) -> str:
    """The source of a mixer, `Mine`, with these statements in it."""
    return (
        f"{HEAD}{head}\nclass Mine({base}):\n"
        f"    {body or 'pass'}\n"
        f"    def __init__(self, site: Site{options}):\n"
        "        super().__init__()\n"
        f"        {constructor}\n"
        "        self.conv = nn.Conv2d(site.channels, site.channels, 3, padding=1)\n"
        "    def forward(self, x):\n"
        f"        {forward}\n"
    )


def registry_with(source: str) -> MixerRegistry:
    Path("mine.py").write_text(source, encoding="utf-8")
    Path("plugins.toml").write_text('schema = 1\n[local]\nmine = "mine.py:Mine"\n', "utf-8")
    Path("t.yaml").write_text(SPEC, encoding="utf-8")
    agree()
    return load_registry()


def count(registry: MixerRegistry) -> None:
    """As `search spec` does."""
    spec = load_spec("t.yaml", registry)
    with placing("t.yaml"):
        count_backbone(spec, registry)


FAULTS = {
    "leaves": (written("raise SystemExit(0)"), r"SystemExit: 0, at .*mine.py:\d+ in __init__"),
    "own base": (
        written("raise Odd", head="class Odd(BaseException): ..."),
        r"Odd, at .*: raise Odd",
    ),
    "interrupt": (written("raise Odd", head="class Odd(KeyboardInterrupt): ..."), "Odd, at .*"),
    "recursion": (written("self.__init__(site)"), "RecursionError: .*at .*mine.py"),
    "memory": (written("raise MemoryError('table')"), "MemoryError: table, at "),
    "no file": (written("open('/nowhere/table')"), "FileNotFoundError: .*/nowhere/table"),
    "lazy import": (written("import flash_nowhere"), "No module named 'flash_nowhere', at "),
    "not a refusal": (written("int('seven')"), "ValueError: invalid literal"),
    "ours": (written("from mixers import PluginError; raise PluginError"), "PluginError, at "),
    "no super": (
        f"{HEAD}class Mine(nn.Module):\n    def __init__(self, site: Site): pass\n",
        r"its constructor does not call super\(\).__init__\(\)",
    ),
    "new": (
        f"{HEAD}class Mine(nn.Module):\n    def __new__(cls, site: Site): return 3\n"
        "    def __init__(self, site: Site): pass\n",
        "makes int; allowed: a torch.nn.Module",
    ),
    "string annotation": (
        written(options=", *, k: 'Annotated[int, ' = 3"),
        r"cannot be read: SyntaxError: .*defined at .*mine.py:\d+",
    ),
    "unknown annotation": (
        written(options=", *, k: Annotated[int, Choise(3)] = 3"),
        r"an annotation cannot be read, name 'Choise'.*defined at .*mine.py:\d+",
    ),
    "raising annotation": (
        written(options=", *, k: Annotated[int, 1 / 0] = 3"),
        r"ZeroDivisionError: .*defined at .*mine.py:\d+",
    ),
    "signature": (written(body="__signature__ = 3"), "TypeError: unexpected object 3"),
    "syntax": ("class Mine(\n", r"SyntaxError: .*, at .*mine.py:1: class Mine\("),
    "class attribute": (
        written(
            head="class Meta(type):\n  @property\n  def fixed_map_size(cls): raise OSError(5)\n",
            base="nn.Module, metaclass=Meta",
        ),
        "has a class attribute fixed_map_size that cannot be read: OSError: 5, at ",
    ),
    "item": (
        written(forward="return x * x.mean().item()"),
        r"cannot be run on the meta device, .*: RuntimeError: Tensor.item\(\).*in forward: return",
    ),
    "numpy": (written(forward="return x.numpy()"), "cannot be run on the meta device, .*numpy"),
    "no forward": (
        f"{HEAD}class Mine(nn.Module):\n    def __init__(self, site: Site): super().__init__()\n",
        r'NotImplementedError: Module \[Mine\] is missing .*in the class at .*mine.py:\d+',
    ),
    "tuple": (written(forward="return x, x"), "WrongOutput: forward returns tuple; allowed: a ten"),
    "nothing": (written(forward="pass"), "WrongOutput: forward returns NoneType; allowed"),
    "shape": (
        written(forward="return x[:, :, 1:]"),
        r"shape \(1, 8, 7, 8\) for one of \(1, 8, 8, 8\)",
    ),
    "type": (written(forward="return x.double()"), "dtype torch.float64 for one of torch.float32"),
    "setattr": (
        written(
            body="def __setattr__(self, name, value):\n"
            "        if name == 'training' and not value: raise RuntimeError('sealed')\n"
            "        super().__setattr__(name, value)"
        ),
        "RuntimeError: sealed, at .* in __setattr__",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", FAULTS)
def test_a_mixers_mistake_is_one_message_with_its_place_and_the_authors_line(kind: str) -> None:
    source, words = FAULTS[kind]
    with pytest.raises(PluginError, match=f"{PLACE}.*{words}"):
        count(registry_with(source))


def test_a_refusal_that_names_the_site_is_a_mistake_in_the_spec() -> None:
    words = r"t.yaml:10:23: stages\[0\].mixer\[1\]: block 1: local/mine: channels: got 8"
    with pytest.raises(SpecError, match=words) as caught:
        count(registry_with(written("raise ValueError('channels: got 8; allowed: 9')")))
    assert caught.value.problems[0].mixer == "local/mine"


def test_ctrl_c_in_a_constructor_is_not_the_mixers() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # pytest-xdist ignores it
    try:
        with pytest.raises(KeyboardInterrupt):
            count(registry_with(written("import os; os.kill(os.getpid(), 2); os.times()")))
    finally:
        signal.signal(signal.SIGINT, before)


def test_timm_answers_with_the_line_of_the_spec() -> None:
    registry_with(written("raise SystemExit(0)"))
    with pytest.raises(PluginError, match=f"{PLACE} cannot be built for .*SystemExit: 0, at"):
        timm.create_model("mf_spec", spec="t.yaml")


@pytest.mark.parametrize(
    ("step", "source"),
    [
        (lambda model, x: model(x), written(forward="return x + {}['k']")),
        (lambda model, x: model.train(), written(body="def train(self, mode=True): {}['k']")),
        (lambda model, x: model.half(), written(body="def _apply(self, *a, **k): {}['k']")),
        (
            lambda model, x: model(x).sum().backward(),
            written(
                forward="return Odd.apply(self.conv(x))",
                head="class Odd(torch.autograd.Function):\n    @staticmethod\n"
                "    def forward(ctx, x): return x.clone()\n    @staticmethod\n"
                "    def backward(ctx, gradient): return gradient + {}['k']\n",
            ),
        ),
    ],
    ids=["forward", "train", "apply", "backward"],
)
def test_what_is_raised_while_a_network_runs_is_blamed_on_the_mixer(step, source) -> None:  # type: ignore[no-untyped-def]
    registry = registry_with(source)
    spec = load_spec("t.yaml", registry)
    model = build_backbone(spec, registry)
    words = r"stages\[0\].mixer\[1\]: local/mine of local [0-9a-f]{12}: KeyError: 'k', at .*mine.py"
    with pytest.raises(PluginError, match=words), mixer_faults(registry, spec):
        step(model, torch.zeros(2, 3, 16, 16))


@pytest.mark.parametrize("step", ["loss", "shape", "hook"])
def test_what_no_mixer_raised_is_blamed_on_none(step: str) -> None:
    registry = registry_with(written())
    spec: BackboneSpec = load_spec("t.yaml", registry)
    model = build_backbone(spec, registry)

    def fail(*_arguments: object) -> None:
        raise KeyError("k")

    def run() -> None:
        model(torch.zeros(2, 1 if step == "shape" else 3, 16, 16))
        fail()

    if step == "hook":
        model.head.register_forward_hook(fail)
    with pytest.raises((KeyError, RuntimeError)) as caught:
        run()
    assert mixer_at_fault(caught.value, registry, spec) is None


@pytest.mark.parametrize("both", [True, False])
def test_code_that_two_mixers_of_a_network_share_is_blamed_on_neither(both: bool) -> None:
    """torch calls a custom function's backward pass without a module; the file has two classes."""
    source = written(
        forward="return Odd.apply(self.conv(x))",
        head="class Odd(torch.autograd.Function):\n    @staticmethod\n"
        "    def forward(ctx, x): return x.clone()\n    @staticmethod\n"
        "    def backward(ctx, g): return {}['k']\n",
    )
    registry_with(f"{source}\nclass Other(Mine): pass\n")
    rules = 'schema = 1\n[local]\nmine = "mine.py:Mine"\nother = "mine.py:Other"\n'
    Path("plugins.toml").write_text(rules, encoding="utf-8")
    agree()
    registry = load_registry()
    if both:
        Path("t.yaml").write_text(SPEC.replace("identity", "local/other"), encoding="utf-8")
    spec = load_spec("t.yaml", registry)
    model = build_backbone(spec, registry)
    with pytest.raises(KeyError) as caught:
        model(torch.zeros(2, 3, 16, 16)).sum().backward()
    fault = mixer_at_fault(caught.value, registry, spec)
    assert (fault.mixer if fault else None) == (None if both else "local/mine")

from __future__ import annotations

import re
from importlib.metadata import distribution, entry_points
from pathlib import Path
from typing import Any

import pytest
import torch
from small_training import CPU, few_digits, same, settings, small_network
from tiny import BASELINE, write_study
from torch import nn

from metaformer import build_backbone, load_spec
from mixers import MixerRegistry, PluginError, PluginsFileError
from mixers.plugins_file import PluginRules, read_plugin_rules
from search.errors import Interrupted, UsageError
from search.training import Diverged, TrainerEntry, TrainerError, find_trainer, train_and_score
from search.training._trainers import GROUP

PAGE = Path(__file__).parents[3] / "docs" / "training.md"


def page_recipe() -> str:
    """The example of docs/training.md, which is to be saved as recipes.py."""
    match = re.search(
        r"Save as `recipes.py`:\n\n```python\n(.*?)^```$", PAGE.read_text(), re.S | re.M
    )
    assert match is not None
    return match[1]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the import path in which distributions are laid down."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def install(site: Path, name: str, source: str, *, distribution: str, version: str = "1.0") -> None:
    module = f"{distribution}_recipes"
    (site / f"{module}.py").write_text(source)
    info = site / f"{distribution}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
    )
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{name} = {module}:train\n")
    (info / "RECORD").write_text(f"{module}.py,sha256=abc,1\n")


def rules(text: str = "") -> PluginRules:
    Path("plugins.toml").write_text(f"schema = 1\n{text}")
    return read_plugin_rules("plugins.toml")


def local(source: str) -> TrainerEntry:
    Path("recipes.py").write_text(source)
    return find_trainer("mine", rules('[trainers]\nmine = "recipes.py:train"\n'))


def train_by(trainer: TrainerEntry, **options: Any) -> tuple[dict[str, torch.Tensor], Any]:
    model = small_network()
    score = train_and_score(
        model, few_digits(), settings(), device=CPU, seed=1, trainer=trainer, **options
    )
    return model.state_dict(), score


NOTHING = "def train(model, data, config, context):\n    pass\n"
BY_HAND = """
def train(model, data, config, context):
    for epoch in context.epochs_left():
        {body}
        context.end_epoch(model, {loss}, {{}})
"""


def by_hand(body: str = "pass", loss: str = "1.0") -> str:
    return BY_HAND.format(body=body, loss=loss)


def test_the_example_of_the_page_trains_scores_and_goes_on(tmp_path: Path) -> None:
    trainer = local(page_recipe())
    whole, score = train_by(trainer)
    assert score.epochs == len(score.by_epoch) == 3
    assert score.value == score.by_epoch[-1]
    assert not same(whole, small_network().state_dict())
    for epochs in (1, 3):
        pieces, last = train_by(trainer, checkpoint=tmp_path / "training.pt", epochs=epochs)
    assert same(whole, pieces)
    assert last == score


def test_an_installed_trainer_is_found_under_each_of_its_names_and_recorded(site: Path) -> None:
    install(site, "fast", by_hand(), distribution="strangers")
    for name in ("strangers/fast", "fast", "strangers_recipes:train"):
        found = find_trainer(name, PluginRules())
        assert found.name == "strangers/fast"
    _, score = train_by(found)
    assert score.trainer == {
        "name": "strangers/fast",
        "distribution": "strangers",
        "version": "1.0",
        "entry_point": "strangers_recipes:train",
        "origin": "index",
        "files": found.fingerprint()["files"],
    }
    assert len(score.trainer["files"]) == 16


def test_finding_a_trainer_imports_nothing(site: Path) -> None:
    install(site, "fast", "raise SystemExit('imported')", distribution="quitters")
    found = find_trainer("fast", PluginRules())
    with pytest.raises(PluginError, match="quitters/fast .*cannot be imported: SystemExit"):
        _ = found.function


def test_a_local_trainer_is_recorded_with_its_file_and_the_digest_of_it() -> None:
    trainer = local(by_hand())
    assert trainer.name == "local/mine"
    frozen = trainer.fingerprint()
    assert frozen["entry_point"] == "recipes.py:train"
    assert frozen["origin"] == f"file {Path('recipes.py').resolve()}"
    other = local(by_hand(loss="2.0")).fingerprint()
    assert other["files"] != frozen["files"]


def test_a_trainer_that_is_not_allowed_is_refused_with_the_rule(site: Path) -> None:
    install(site, "fast", by_hand(), distribution="strangers")
    with pytest.raises(PluginError, match="strangers/fast .*blocks strangers ==1.0"):
        find_trainer("fast", rules('[block]\nstrangers = "==1.0"\n'))
    with pytest.raises(PluginError, match=r"strangers is not in \[allow\] of plugins.toml"):
        find_trainer("fast", rules('[allow]\nmetaformer-search = "*"\n'))
    find_trainer("fast", rules('[allow]\nstrangers = ">=1"\n'))


def test_a_distribution_of_trainers_is_no_slip_for_one_of_mixers(site: Path) -> None:
    install(site, "fast", by_hand(), distribution="strangers")
    mixers = {"stranger/some": "stranger"}
    rules('[allow]\nstrangers = "*"\nstranger = "*"\n').check_names(mixers)
    with pytest.raises(PluginsFileError, match="strangerz gives no mixers here; did you mean"):
        rules('[allow]\nstrangerz = "*"\n').check_names(mixers)


def test_an_unknown_trainer_is_answered_with_what_there_is(site: Path) -> None:
    install(site, "fast", by_hand(), distribution="strangers")
    words = "train.trainer: got strangers/fats: no .*installed: strangers/fast; did you mean"
    with pytest.raises(UsageError, match=words):
        find_trainer("strangers/fats", PluginRules())


def test_a_module_that_is_no_entry_point_is_not_run() -> None:
    with pytest.raises(UsageError, match="no trainer of the entry-point group"):
        find_trainer("os:system", PluginRules())


def test_a_name_that_several_have_needs_its_distribution(site: Path) -> None:
    install(site, "fast", by_hand(), distribution="strangers")
    install(site, "fast", by_hand(), distribution="others")
    with pytest.raises(UsageError, match="several have; allowed: others/fast, strangers/fast"):
        find_trainer("fast", PluginRules())
    assert find_trainer("others/fast", PluginRules()).distribution == "others"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("train = 3", "is no function"),
        ("class train: pass", "is no function"),
        ("def train(model): pass", r"takes \(model\); allowed: \(model, data, config, context\)"),
        ("import nowhere_at_all", "cannot be imported: ModuleNotFoundError"),
        ("", "cannot be imported: AttributeError"),
    ],
)
def test_what_is_no_trainer_is_refused_by_its_name(source: str, words: str) -> None:
    trainer = local(source)
    with pytest.raises(PluginError, match=f"trainer local/mine .*{words}"):
        _ = trainer.function


def test_what_a_trainer_raises_is_told_with_its_name() -> None:
    with pytest.raises(TrainerError, match=r"trainer local/mine \(local .*\): KeyError: 'x'"):
        train_by(local(by_hand("{}['x']")))


@pytest.mark.parametrize(
    "statement", ["raise SystemExit(0)", "raise KeyboardInterrupt", "raise BaseException('x')"]
)
def test_a_trainer_that_leaves_is_at_fault(statement: str) -> None:
    words = f"trainer local/mine .*recipes.py:.* in train: {re.escape(statement)}"
    with pytest.raises(TrainerError, match=words):
        train_by(local(by_hand(statement)))


def test_a_trainers_module_that_leaves_is_at_fault() -> None:
    with pytest.raises(PluginError, match="cannot be imported: SystemExit: 0, at .*SystemExit"):
        _ = local("raise SystemExit(0)").function


def test_a_trainer_that_leaves_epochs_out_is_told() -> None:
    with pytest.raises(TrainerError, match="ended 0 of 3 epochs"):
        train_by(local(NOTHING))


def test_a_loss_that_is_no_number_is_a_divergence_whoever_trains() -> None:
    with pytest.raises(Diverged, match="the mean loss of epoch 1 is nan") as told:
        train_by(local(by_hand(loss="float('nan')")))
    assert told.value.epoch == 1


def test_a_trainer_is_stopped_where_it_asks() -> None:
    def stop() -> None:
        raise Interrupted

    with pytest.raises(Interrupted):
        train_by(local(by_hand("context.check()")), check=stop)


def test_the_trained_weights_are_scored_by_the_search_itself() -> None:
    source = by_hand() + "    model[-1].bias.data[3] = 1e6\n"
    _, score = train_by(local(source))
    _, labels = few_digits().validation.fetch(range(60))
    assert score.value == pytest.approx(float((labels == 3).float().mean()))


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ('mine = "recipes.txt"', r"plugins.toml:3:1: trainers.mine: .*'FILE.py:FUNCTION'"),
        ('mine = "nowhere.py:train"', "trainers.mine: no such file: nowhere.py"),
        ("mine = 3", "trainers.mine: got 3"),
    ],
)
def test_a_mistake_in_the_trainers_of_a_project_has_its_place(table: str, words: str) -> None:
    with pytest.raises(PluginsFileError, match=words):
        rules(f"[trainers]\n{table}\n")


def test_the_project_itself_gives_no_trainer() -> None:
    own = [p for p in entry_points(group=GROUP) if p.dist and p.dist.name == "metaformer-search"]
    assert own == []
    assert distribution("metaformer-search").version


def test_what_a_mixer_raises_is_not_the_trainers_error(registry: MixerRegistry) -> None:
    class Broken(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise ZeroDivisionError("in a mixer")

    model = build_backbone(load_spec(write_study(BASELINE, "mine.yaml"), registry), registry)
    block = next(module for module in model.modules() if hasattr(module, "mixer"))
    block.mixer = Broken()
    trainer = local(
        "def train(model, data, config, context):\n    model(data.train.fetch([0, 1])[0] / 255)\n"
    )
    with pytest.raises(ZeroDivisionError, match="in a mixer"):
        train_and_score(model, few_digits(), settings(), device=CPU, seed=0, trainer=trainer)

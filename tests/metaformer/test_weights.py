from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from parity import EACH_PAIR, OTHER_PAIRS, PAIRS, QUICK_PAIRS, SETTINGS, randomise, timm_model
from safetensors.torch import save_file
from torch import nn

from metaformer import (
    BackboneSpec,
    build_backbone,
    from_timm,
    load_pretrained,
    load_spec,
    to_timm,
)
from mixers import MixerRegistry


@pytest.mark.parametrize("name", EACH_PAIR)
def test_there_and_back_gives_timms_state_dict_again(name: str, registry: MixerRegistry) -> None:
    theirs = timm_model(name).state_dict()
    model = build_backbone(load_spec(name, registry), registry)
    model.load_state_dict(from_timm(theirs, model))
    back = to_timm(model)
    assert back.keys() == theirs.keys()
    for key, value in theirs.items():
        assert back[key].shape == value.shape
        assert torch.equal(back[key], value), key


@pytest.mark.parametrize("name", EACH_PAIR)
def test_timm_loads_what_we_export(name: str, registry: MixerRegistry) -> None:
    model = build_backbone(load_spec(name, registry), registry)
    randomise(model)
    theirs = timm.create_model(PAIRS[name])
    theirs.load_state_dict(to_timm(model))
    images = torch.randn(1, 3, 224, 224)
    with torch.inference_mode():
        torch.testing.assert_close(theirs.eval()(images), model.eval()(images))


def test_weights_of_another_model_are_refused_saying_what_does_not_fit(
    registry: MixerRegistry,
) -> None:
    model = build_backbone(load_spec("inceptionnext_t", registry), registry, device="meta")
    with torch.device("meta"):
        other = timm.create_model("convnext_tiny").state_dict()
        wider = timm.create_model("inception_next_small").state_dict()
        fewer_classes = timm.create_model("inception_next_tiny", num_classes=10).state_dict()
    with pytest.raises(ValueError, match=r"missing: .*mixer.branches.*not of this model: "):
        from_timm(other, model)
    with pytest.raises(ValueError, match=r"not of this model: stages.2.blocks.10"):
        from_timm(wider, model)
    with pytest.raises(ValueError, match=r"another shape: head.fc.bias \(10,\) for \(1000,\)"):
        from_timm(fewer_classes, model)


def test_a_hybrid_has_no_timm_counterpart_and_says_so(registry: MixerRegistry) -> None:
    model = build_backbone(load_spec("swin_t_inception", registry), registry, device="meta")
    words = r"the nearest is swin_t, which differs in stages\[0\].mixer \(timm has one in a stage\)"
    with pytest.raises(ValueError, match=words):
        to_timm(model)


@pytest.mark.parametrize("name", EACH_PAIR)
def test_without_a_classifier_the_features_are_timms_too(
    name: str, registry: MixerRegistry
) -> None:
    theirs = timm.create_model(PAIRS[name], num_classes=0)
    randomise(theirs)
    spec = load_spec(name, registry).model_copy(update={"num_classes": 0})
    model = build_backbone(spec, registry)
    model.load_state_dict(from_timm(theirs.state_dict(), model))
    assert model.head_hidden_size == theirs.head_hidden_size
    images = torch.randn(1, 3, 224, 224)
    with torch.inference_mode():
        torch.testing.assert_close(theirs.eval()(images), model.eval()(images))


@pytest.mark.parametrize("name", EACH_PAIR)
def test_what_stands_before_the_classifier_is_what_timm_has_there(
    name: str, registry: MixerRegistry
) -> None:
    theirs = timm_model(name).eval()
    model = build_backbone(load_spec(name, registry), registry).eval()
    model.load_state_dict(from_timm(theirs.state_dict(), model))
    images = torch.randn(1, 3, 224, 224)
    with torch.inference_mode():
        ours = model.forward_head(model.forward_features(images), pre_logits=True)
        expected = theirs.forward_head(theirs.forward_features(images), pre_logits=True)
    torch.testing.assert_close(ours, expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHER_PAIRS)
def test_names_and_shapes_go_both_ways_for_every_backbone_that_timm_has(
    name: str, registry: MixerRegistry
) -> None:
    spec = load_spec(name, registry)
    size = {"img_size": spec.image_size} if name.startswith("swin") else {}
    with torch.device("meta"):
        theirs = timm.create_model(OTHER_PAIRS[name], **SETTINGS.get(name, {}), **size).state_dict()
    model = build_backbone(spec, registry, device="meta")
    model.load_state_dict(from_timm(theirs, model))
    back = to_timm(model)
    assert {key: value.shape for key, value in back.items()} == {
        key: value.shape for key, value in theirs.items()
    }


@pytest.mark.parametrize(
    ("name", "change", "differs"),
    [
        ("convnext_t", {"mixer": {"large_kernel_dw": {"convolved_ratio": 0.5}}}, "mixer"),
        ("swin_t", {"mixer": {"window_attention": {"qkv_bias": False}}}, "mixer"),
        ("inceptionnext_t", {"norm": "group_norm"}, "norm"),
        ("inceptionnext_t", {"mixer": {"inception_dw": {"bands": "sequential"}}}, "mixer"),
        ("convformer_s18", {"mlp": {"ratio": 3.0}}, "mlp"),
        # what no shape of the weights shows: timm's model would load them and compute another thing
        ("caformer_s18", {"mixer": {"attention": {"head_width": 16}}}, "mixer"),
        ("poolformer_s12", {"mixer": {"pooling": {"pool_size": 5}}}, "mixer"),
        ("resnet50", {"mixer": {"conv": {"groups": 32}}}, "mixer"),
        ("swin_t", {"mixer": {"window_attention": {"head_width": 16}}}, "mixer"),
        ("swin_t", {"mlp": {"ratio": 3.0}}, r"mlp \(timm has one ratio\)"),
        ("focalnet_t", {"mlp": {"ratio": 3.0}}, r"mlp \(timm has one ratio\)"),
    ],
)
def test_what_timm_cannot_build_has_no_names_there(
    name: str, change: dict[str, Any], differs: str, registry: MixerRegistry
) -> None:
    data = load_spec(name, registry).to_data()
    index = 2 if name == "caformer_s18" else 1  # the first stage with attention
    for key, value in change.items():
        old = data["stages"][index][key]
        merges = key == "mlp"
        data["stages"][index][key] = {**old, **value} if merges else value
    spec = BackboneSpec.model_validate(data)
    model = build_backbone(spec, registry, device="meta")
    nearest = "convformer_s18" if name == "caformer_s18" else name
    words = rf"nearest is {nearest}, which differs in stages\[{index}\]\.{differs}"
    with pytest.raises(ValueError, match=words):
        to_timm(model)


def saved(name: str, folder: Path, suffix: str = ".safetensors") -> tuple[Path, nn.Module]:
    """A file of random weights as timm publishes them, and timm's model that holds them."""
    theirs = timm_model(name)
    file = folder / f"{name}{suffix}"
    if suffix == ".safetensors":
        save_file(theirs.state_dict(), file)
    else:
        torch.save({"state_dict": theirs.state_dict()}, file)
    return file, theirs


@pytest.mark.parametrize(
    ("name", "suffix"), [("swin_t", ".pth"), *((name, ".safetensors") for name in QUICK_PAIRS)]
)
def test_timms_weights_load_from_a_file_whole(
    name: str, suffix: str, tmp_path: Path, registry: MixerRegistry
) -> None:
    file, theirs = saved(name, tmp_path, suffix)
    model = build_backbone(load_spec(name, registry), registry)
    inherited = load_pretrained(model, file)
    assert str(inherited) == "100.0% taken over"
    for key, value in theirs.state_dict().items():
        assert torch.equal(to_timm(model)[key], value), key


def test_a_hybrid_takes_over_what_fits_and_says_what_does_not(
    tmp_path: Path, registry: MixerRegistry
) -> None:
    file, theirs = saved("swin_t", tmp_path)
    hybrid = load_spec("swin_t_inception", registry).model_copy(update={"num_classes": 10})
    model = build_backbone(hybrid, registry)
    inherited = load_pretrained(model, file)
    assert 0.8 < inherited.share < 1
    assert all((".mixer." in key and ".blocks.0." in key) or ".blocks." in key
               for key in inherited.missing)  # fmt: skip
    assert all("mixer.branches" in key for key in inherited.missing)
    assert inherited.misfit == (
        "head.fc.bias (1000,) for (10,)", "head.fc.weight (1000, 768) for (10, 768)",
    )  # fmt: skip
    assert all(".attn." in key for key in inherited.unused)
    kept = model.state_dict()["stages.2.blocks.1.mixer.position_bias"]
    table = "layers.2.blocks.1.attn.relative_position_bias_table"
    assert torch.equal(kept, theirs.state_dict()[table])
    assert "missing: stages.0.blocks.0.mixer.branches" in str(inherited)


def test_position_tables_are_fitted_to_another_window(
    tmp_path: Path, registry: MixerRegistry
) -> None:
    file, _ = saved("swin_t", tmp_path)
    data = load_spec("swin_t", registry).to_data()
    for stage in data["stages"]:
        stage["mixer"] = {"window_attention": {"window": 12}}
    model = build_backbone(BackboneSpec.model_validate(data), registry, image_size=384)
    inherited = load_pretrained(model, file)
    assert inherited.share == 1.0
    assert len(inherited.resized) == 12


def test_swin_as_it_was_first_published_is_understood(
    tmp_path: Path, registry: MixerRegistry
) -> None:
    theirs = timm_model("swin_t").state_dict()
    published = {}
    for key, value in theirs.items():
        key = re.sub(
            r"layers\.(\d)\.downsample", lambda m: f"layers.{int(m[1]) - 1}.downsample", key
        )
        published[key.replace("head.fc.", "head.")] = value
    published["layers.0.blocks.1.attn_mask"] = torch.zeros(64, 49, 49)
    published["layers.0.blocks.0.attn.relative_position_index"] = torch.zeros(49, 49)
    torch.save({"model": published}, tmp_path / "swin.pth")
    model = build_backbone(load_spec("swin_t", registry), registry)
    assert str(load_pretrained(model, tmp_path / "swin.pth")) == "100.0% taken over"
    assert all(torch.equal(to_timm(model)[key], value) for key, value in theirs.items())


def test_our_own_weights_load_by_their_own_names(tmp_path: Path, registry: MixerRegistry) -> None:
    model = build_backbone(load_spec("poolformer_s12", registry), registry)
    randomise(model)
    save_file(model.state_dict(), tmp_path / "best.safetensors")
    again = build_backbone(load_spec("poolformer_s12", registry), registry)
    assert load_pretrained(again, tmp_path / "best.safetensors").share == 1.0
    assert all(torch.equal(again.state_dict()[k], v) for k, v in model.state_dict().items())


def test_weights_of_another_mixer_are_not_taken_over_by_names_that_they_share(
    tmp_path: Path, registry: MixerRegistry
) -> None:
    """Focal modulation and attention both call a layer of theirs project."""
    file, _ = saved("focalnet_t", tmp_path)
    data = load_spec("focalnet_t", registry).to_data()
    for stage in data["stages"]:
        stage["mixer"] = {"attention": {"projection_bias": True}}
    model = build_backbone(BackboneSpec.model_validate(data), registry)
    inherited = load_pretrained(model, file)
    mixers = {key for key in model.state_dict() if ".mixer." in key}
    assert mixers == set(inherited.missing)
    assert sum(".modulation.proj." in key for key in inherited.unused) == 24


def test_an_option_that_no_shape_shows_keeps_a_mixers_weights_out(
    tmp_path: Path, registry: MixerRegistry
) -> None:
    file, _ = saved("caformer_s18", tmp_path)
    data = load_spec("caformer_s18", registry).to_data()
    data["stages"][3]["mixer"] = {"attention": {"head_width": 16}}
    model = build_backbone(BackboneSpec.model_validate(data), registry)
    missing = load_pretrained(model, file).missing
    assert missing
    assert all(key.startswith("stages.3.") and ".mixer." in key for key in missing)


def test_an_ablation_takes_over_the_branches_that_it_has(
    tmp_path: Path, registry: MixerRegistry
) -> None:
    file, _ = saved("inceptionnext_t", tmp_path)
    model = build_backbone(load_spec("inceptionnext_t_no_vertical", registry), registry)
    inherited = load_pretrained(model, file)
    assert inherited.missing == inherited.misfit == ()
    assert all("token_mixer" in k or "mixer.branches.vertical" in k for k in inherited.unused)


def test_the_stem_is_adapted_to_other_channels_and_a_part_is_never_called_all(
    tmp_path: Path, registry: MixerRegistry
) -> None:
    file, theirs = saved("inceptionnext_t", tmp_path)
    grey = load_spec("inceptionnext_t", registry).model_copy(update={"in_channels": 1})
    model = build_backbone(grey, registry)
    inherited = load_pretrained(model, file)
    assert inherited.resized == ("stem.conv.weight",)
    summed = theirs.state_dict()["stem.0.weight"].sum(dim=1, keepdim=True)
    torch.testing.assert_close(model.stem.conv.weight.detach(), summed)
    colours = grey.model_copy(update={"in_channels": 3, "num_classes": 999})
    data = colours.to_data()
    data["stem"]["kernel_size"] = 3
    part = load_pretrained(build_backbone(BackboneSpec.model_validate(data), registry), file)
    assert part.share < 1
    assert not str(part).startswith("100.0%")


def test_a_model_without_memory_is_refused(tmp_path: Path, registry: MixerRegistry) -> None:
    file, _ = saved("inceptionnext_t", tmp_path)
    model = build_backbone(load_spec("inceptionnext_t", registry), registry, device="meta")
    with pytest.raises(ValueError, match="inceptionnext_t lies on the meta device"):
        load_pretrained(model, file)


@pytest.mark.parametrize("content", [b"", b"plain text", b"\x80\x04."])
def test_a_damaged_file_is_answered_in_words(
    content: bytes, tmp_path: Path, registry: MixerRegistry
) -> None:
    model = build_backbone(load_spec("poolformer_s12", registry), registry)
    (tmp_path / "weights.pth").write_bytes(content)
    with pytest.raises(ValueError, match="weights.pth: cannot be read as weights: "):
        load_pretrained(model, tmp_path / "weights.pth")
    torch.save(torch.ones(3), tmp_path / "tensor.pth")
    with pytest.raises(ValueError, match="tensor.pth: cannot be read as weights: "):
        load_pretrained(model, tmp_path / "tensor.pth")


def test_a_file_that_holds_nothing_that_fits_or_code_is_refused(
    tmp_path: Path, registry: MixerRegistry
) -> None:
    model = build_backbone(load_spec("poolformer_s12", registry), registry)
    save_file({"a": torch.ones(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="nothing in it fits poolformer_s12: missing: "):
        load_pretrained(model, tmp_path / "other.safetensors")
    with pytest.raises(FileNotFoundError, match="no such file; allowed: a file of weights, timm:"):
        load_pretrained(model, "swin_tiny")
    torch.save({"model": RunsCode()}, tmp_path / "code.pth")
    with pytest.raises(ValueError, match="code.pth: cannot be read as weights: weights_only=True"):
        load_pretrained(model, tmp_path / "code.pth")
    assert not Path("ran").exists()


class RunsCode:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("ran"),)


@pytest.mark.parametrize("settings", [{}, {"feature_cls": "getter"}, {"out_indices": (1, 2)}])
def test_weights_load_into_the_features_that_timm_takes_of_a_backbone(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    file, _ = saved("swin_t", tmp_path)
    features = timm.create_model("mf_swin_t", features_only=True, **settings)
    inherited = load_pretrained(features, file)
    assert (inherited.missing, inherited.misfit) == ((), ())
    assert inherited.share == 1.0
    whole = timm.create_model("mf_swin_t")
    load_pretrained(whole, file)
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        maps = features.eval()(images)
        expected = whole.eval().forward_intermediates(images, intermediates_only=True)
    wanted = settings.get("out_indices", range(4))
    assert all(torch.equal(found, expected[i]) for found, i in zip(maps, wanted, strict=True))


def test_our_own_weights_load_into_features_and_wrapped_backbones(
    tmp_path: Path, registry: MixerRegistry
) -> None:
    model = build_backbone(load_spec("inceptionnext_atto", registry), registry)
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    features = timm.create_model("mf_inceptionnext_atto", features_only=True)
    for other in (features, torch.compile(model), nn.DataParallel(model)):
        assert load_pretrained(other, tmp_path / "w.safetensors").missing == ()


@pytest.mark.parametrize("other", [nn.Linear(2, 2), nn.Sequential(), nn.DataParallel(nn.ReLU())])
def test_weights_load_into_backbones_only(other: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"got {type(other).__name__}; allowed: a backbone of"):
        load_pretrained(other, tmp_path / "none.safetensors")

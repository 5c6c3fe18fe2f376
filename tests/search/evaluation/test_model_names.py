"""Names of models, judged by the text of the libraries, against the libraries themselves."""

from __future__ import annotations

import pytest
import timm
from torchvision import models

from metaformer import timm_models
from search.errors import UsageError
from search.evaluation.model_names import known_models, require_spec


def test_the_names_are_those_that_the_libraries_register() -> None:
    here = {"mf_spec", *timm_models._REGISTERED}  # other tests register files of their own
    assert set(timm.list_models()) - here == set(known_models("timm"))
    assert set(models.list_models(module=models)) == set(known_models("torchvision"))


@pytest.mark.parametrize(
    "source", ["timm:resnet18", "timm:resnet18.a1_in1k", "timm:mf_swin_t", "torchvision:vgg11"]
)
def test_a_model_passes(source: str) -> None:
    require_spec(source)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("resnet18", "did you mean timm:resnet18 or torchvision:resnet18?"),
        ("ResNet18.a1_in1k", "did you mean timm:resnet18"),
        ("timm:resnte18", "timm has no such model; did you mean timm:resnet18"),
        ("timm: resnet18", "did you mean timm:resnet18?"),
        ("torchvision:VGG11", "did you mean torchvision:vgg11?"),
        ("timm:", "timm: got no name; allowed: timm:NAME"),
        ("torchvision:  ", "torchvision: got no name"),
        ("timm:hf-hub:timm/resnet18", "nothing is downloaded"),
        ("timm:mf_spec", "takes a spec, which a name cannot hold"),
    ],
)
def test_any_other_is_refused_with_what_may_be_meant(source: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        require_spec(source)
    assert words in str(caught.value)


@pytest.mark.parametrize("source", ["timm:qqqq", "torchvision:xyz", "timm:zq9"])
def test_nothing_is_suggested_if_nothing_is_near(source: str) -> None:
    with pytest.raises(UsageError, match="no such model$"):
        require_spec(source)

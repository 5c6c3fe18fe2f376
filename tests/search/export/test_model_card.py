"""Words of a model card: nothing of this machine, and nothing in Python's ways of writing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from chosen import best_of

from mixers import MixerRegistry
from search.export._model_card import in_words, model_card, without_place


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "none"),
        (True, "yes"),
        ({"mixup": 0.2, "mirror": None}, "(mixup 0.2, mirror none)"),
        ((0.485, 0.456), "0.485, 0.456"),
        ([], ""),
        ("cosine", "cosine"),
    ],
)
def test_a_setting_is_written_in_words(value: object, words: str) -> None:
    assert in_words(value) == words


@pytest.mark.parametrize(
    ("origin", "words"),
    [
        ("index", "index"),
        ("editable file:///home/me/mixers", "editable install"),
        ("file /home/me/ideas.py", "file ideas.py"),
        ("file:///home/me/mixers", "local folder"),
        ("git+https://host/x@abc", "git+https://host/x@abc"),
    ],
)
def test_an_origin_names_no_folder_of_this_machine(origin: str, words: str) -> None:
    assert without_place(origin) == words


def test_a_card_holds_no_path_and_no_repr(finished: Path, registry: MixerRegistry) -> None:
    card = model_card(best_of(finished, registry), "import metaformer\n")
    prose = re.sub(r"```python\n.*?```", "", card, flags=re.DOTALL)
    assert not re.search(r"(?<![\w.])/(home|work|tmp|root|usr)/|file://|Path\(", prose)
    assert not re.search(r"\bNone\b|\bTrue\b|\bFalse\b|\{\'|\(\'", prose)

"""Names of models that a SPEC may have: judged without torch, so that a slip is answered at once.

timm and torchvision take seconds to import, so their names are read from the text of their
modules. A name that stands nowhere in that text is no model; for any other the library decides
(`search.evaluation.model_source`).
"""

from __future__ import annotations

import os
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from mixers.errors import did_you_mean, nearest_names
from search.errors import UsageError

LIBRARIES = ("timm", "torchvision")
_HUBS = ("hf-hub:", "hf_hub:", "local-dir:", "timm/")
_DECORATED = re.compile(r"^@register_model\b.*\n(?:[@ )].*\n)*def (\w+)", re.MULTILINE)
_EXAMPLE = "timm:resnet18"
_SHOWN = 3  # names that may be meant


def library_model(source: str) -> tuple[str, str] | None:
    """Library and name of `timm:NAME` or `torchvision:NAME`; None for any other SPEC."""
    library, colon, name = source.partition(":")
    return (library, name) if colon and library in LIBRARIES else None


def require_spec(source: str) -> None:
    """UsageError, with what may be meant, if `source` can be no SPEC.

    A SPEC is a YAML file, a known backbone, a run folder, `timm:NAME` or `torchvision:NAME`. What
    passes may still turn out to be none when it is read.
    """
    model = library_model(source)
    if model is not None:
        library, name = model
        if name.partition(".")[0] not in _words(library):
            raise unknown_model(library, name)
    elif not os.path.exists(source):
        _require_known_backbone(source)


def unknown_model(library: str, name: str) -> UsageError:
    """The error for a name that `library` has no model of, with those that may be meant."""
    if not name.strip():
        return UsageError(f"{library}: got no name; allowed: {library}:NAME, such as {_EXAMPLE}")
    if name == "mf_spec":
        words = "takes a spec, which a name cannot hold; allowed: the YAML file itself"
        return UsageError(f"{library}:{name}: {words}")
    if name.startswith(_HUBS):
        words = f"nothing is downloaded; allowed: a model of {library}'s own, such as {_EXAMPLE}"
        return UsageError(f"{library}:{name}: {words}")
    asked, known = name.strip().lower().partition(".")[0], known_models(library)
    close = [asked] if asked in known else nearest_names(asked, known, count=_SHOWN)
    words = f"{library} has no such model{did_you_mean(*(f'{library}:{one}' for one in close))}"
    return UsageError(f"{library}:{name}: {words}")


def known_models(library: str) -> list[str]:
    """The names of all models of `library`, in alphabetical order."""
    names = {name for text in _texts(library) for name in _DECORATED.findall(text)}
    return sorted(names | _ours(library))


def _require_known_backbone(source: str) -> None:
    """UsageError if `source`, which is no path that exists, is no known backbone either."""
    from metaformer.errors import SpecError
    from metaformer.extends import find_spec_file

    try:
        find_spec_file(source)
    except SpecError:
        name = source.strip().partition(".")[0]
        holders = [lib for lib in LIBRARIES if name.lower() in known_models(lib)]
        if holders and os.path.splitext(source)[1] not in (".yaml", ".yml"):
            meant = [f"{library}:{source.strip().lower()}" for library in holders]
            words = "neither a file nor a known backbone (`search zoo` lists all)"
            raise UsageError(f"{source}: {words}{did_you_mean(*meant)}") from None
        raise


def _ours(library: str) -> set[str]:
    """Backbones of the zoo as models of timm's."""
    if library != "timm":
        return set()
    from metaformer.extends import zoo_names

    return {f"mf_{name}" for name in zoo_names()}


@cache
def _words(library: str) -> frozenset[str]:
    """All words in the library's modules of models: a superset of the names of its models."""
    return frozenset(word for text in _texts(library) for word in re.findall(r"\w+", text)) | _ours(
        library
    )


@cache
def _texts(library: str) -> tuple[str, ...]:
    spec = find_spec(library)
    places = spec.submodule_search_locations if spec is not None else None
    return tuple(
        file.read_text(encoding="utf-8", errors="replace")
        for place in places or ()
        for file in sorted((Path(place) / "models").glob("*.py"))
    )

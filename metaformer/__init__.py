"""Vision backbones from data: YAML specs, one builder, any mixer in any skeleton.

Importing this package registers every backbone of the zoo with timm (`mf_` and its name).
"""

from metaformer._weights import Inheritance, from_timm, load_pretrained, to_timm
from metaformer.backbone import Backbone, build_backbone
from metaformer.counting import BackboneCost, Cost, count_backbone
from metaformer.errors import Mark, Problem, SpecError
from metaformer.extends import zoo_names
from metaformer.spec import BackboneSpec, HeadSpec, StageSpec
from metaformer.spec_parts import DownsampleSpec, MlpSpec, NormSpec, PoolSpec, StemSpec
from metaformer.spec_yaml import dump_spec, load_spec
from metaformer.timm_models import PREFIX as TIMM_PREFIX
from metaformer.timm_models import register_spec
from metaformer.zoo_table import Published, ZooEntry, published, zoo_table

__all__ = [
    "TIMM_PREFIX",
    "Backbone",
    "BackboneCost",
    "BackboneSpec",
    "Cost",
    "DownsampleSpec",
    "HeadSpec",
    "Inheritance",
    "Mark",
    "MlpSpec",
    "NormSpec",
    "PoolSpec",
    "Problem",
    "Published",
    "SpecError",
    "StageSpec",
    "StemSpec",
    "ZooEntry",
    "build_backbone",
    "count_backbone",
    "dump_spec",
    "from_timm",
    "load_pretrained",
    "load_spec",
    "published",
    "register_spec",
    "to_timm",
    "zoo_names",
    "zoo_table",
]

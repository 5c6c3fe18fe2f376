"""Token mixers: what one is, and which are installed.

An author of a mixer imports `Site` and the domains of options; everybody else asks
`load_registry()`. Importing this package does not import torch.
"""

from mixers.contract import Mixer, Site
from mixers.errors import MixerError, OptionError, PluginError, SignatureError, UnknownMixerError
from mixers.options import Choice, Domain, FloatRange, IntRange, OptionValue
from mixers.registry import MixerEntry, MixerRegistry, load_registry
from mixers.signature import Option, read_options
from mixers.spec import MixerSpec

__all__ = [
    "Choice",
    "Domain",
    "FloatRange",
    "IntRange",
    "Mixer",
    "MixerEntry",
    "MixerError",
    "MixerRegistry",
    "MixerSpec",
    "Option",
    "OptionError",
    "OptionValue",
    "PluginError",
    "SignatureError",
    "Site",
    "UnknownMixerError",
    "load_registry",
    "read_options",
]

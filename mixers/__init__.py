"""Token mixers: what one is, and which are installed.

An author of a mixer imports `Site` and the domains of options; everybody else asks
`load_registry()`. Importing this package does not import torch.
"""

from mixers._entry import MixerEntry, MixerState
from mixers._registry import MixerRegistry, installed_mixers, load_registry
from mixers._signature import Option, read_options
from mixers._spec import MixerSpec
from mixers.errors import (
    InputError,
    MixerError,
    MixerFault,
    OptionError,
    PluginError,
    PluginsFileError,
    SignatureError,
    UnknownMixerError,
)
from mixers.interface import Mixer, Site
from mixers.options import Choice, Domain, FloatRange, IntRange, OptionValue

__all__ = [
    "Choice",
    "Domain",
    "FloatRange",
    "InputError",
    "IntRange",
    "Mixer",
    "MixerEntry",
    "MixerError",
    "MixerFault",
    "MixerRegistry",
    "MixerSpec",
    "MixerState",
    "Option",
    "OptionError",
    "OptionValue",
    "PluginError",
    "PluginsFileError",
    "SignatureError",
    "Site",
    "UnknownMixerError",
    "installed_mixers",
    "load_registry",
    "read_options",
]

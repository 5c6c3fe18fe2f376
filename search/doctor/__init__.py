"""Whether throughput can be measured on this machine: what is found, and what would spoil it."""

from search.doctor._examination import examine
from search.doctor._facts import Facts, PluginState, Storage
from search.doctor.findings import Finding, findings

__all__ = ["Facts", "Finding", "PluginState", "Storage", "examine", "findings"]

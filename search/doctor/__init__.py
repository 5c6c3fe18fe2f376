"""Examination of this machine: what would spoil a measurement of throughput here."""

from search.doctor._examination import examine
from search.doctor._facts import Facts, PluginState, Storage
from search.doctor.findings import Finding, findings

__all__ = ["Facts", "Finding", "PluginState", "Storage", "examine", "findings"]

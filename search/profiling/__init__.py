"""Profiling of a step: bounds, time and memory by part, latency. Knows torch and a module."""

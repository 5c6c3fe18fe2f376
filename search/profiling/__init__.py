"""Where the time and memory of a step go: bounds, parts, latency. Knows torch and a module."""

"""Measured throughput with a verdict: how to time, when to stop, whether a sample is valid and
how to report are separate things here. Knows torch and a module, nothing of the search.
"""

from search.device_lease.lease import LeaseTimeout, device_lease
from search.throughput.engine import measure
from search.throughput.measurement import Measurement, Verdict
from search.throughput.protocol import MeasurementProtocol
from search.throughput.sensors import Clock, Sensors, SystemClock, device_sensors

__all__ = [
    "Clock",
    "LeaseTimeout",
    "Measurement",
    "MeasurementProtocol",
    "Sensors",
    "SystemClock",
    "Verdict",
    "device_lease",
    "device_sensors",
    "measure",
]

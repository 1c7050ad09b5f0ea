"""Metrics: probes that ask the machine, and PromQL over stored and derived series."""

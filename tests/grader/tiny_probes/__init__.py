"""Probes of the tiny assignment."""

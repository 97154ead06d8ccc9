"""Measuring detectors, ours and others, on labelled pictures: metrics, laundering curves, one report."""

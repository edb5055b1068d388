"""Benchmarks: one script a claim of speed, ratios within one run."""

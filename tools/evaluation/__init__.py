"""The suites of ``tools/evaluate.py``: what is measured, and what is written of it."""

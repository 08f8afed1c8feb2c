"""The suites of ``tools/evaluate.py``: their measurements and the report."""

"""What `tools/benchmark.py` is made of: models, steps, their measurement, a report.

Read in this order: `models.py` (what is compared), `variants.py` (how each mixes),
`steps.py` (what one step is), `measuring.py`, `report.py`.
"""

"""Ways to compute how attention moves shares."""

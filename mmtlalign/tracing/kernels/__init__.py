"""Implementations of the movement of shares by attention."""

"""Weights in and out, and how they are written."""

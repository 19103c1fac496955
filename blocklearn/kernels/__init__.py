"""Numerics: fast paths, each with its slow reference in the tests."""

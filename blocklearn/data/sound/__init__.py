"""Sound: recordings, view recipes and data modules."""

"""Images: decoding, view recipes and data modules."""

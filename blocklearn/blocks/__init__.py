"""The heart: stages, blocks and the isolated walk over them."""

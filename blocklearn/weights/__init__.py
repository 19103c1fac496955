"""Files of weights: read without executing anything, written whole or not at all."""

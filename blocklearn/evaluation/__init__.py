"""What a trained network is worth, block by block."""

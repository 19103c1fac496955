"""What a run is told: its configuration, what of a stranger's is taken, what cannot be meant, what
changed on resuming."""

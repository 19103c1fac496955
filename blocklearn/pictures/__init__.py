"""Pictures from plain figures, one kind a file."""

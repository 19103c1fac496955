"""Video: clips of files, of folders of frames, and of digits that move."""

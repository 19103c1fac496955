"""Losses on the embeddings of a batch's views."""

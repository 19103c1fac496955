"""One step of local learning: what a block is told, who runs it when, and the class that talks to
the Trainer."""

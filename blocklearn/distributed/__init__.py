"""Several processes that train as one: collectives with gradients, synchronised norms, the
Trainer's strategy."""

"""What sits between a block's features and its loss; thrown away or published after training."""

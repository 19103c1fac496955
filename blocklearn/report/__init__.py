"""One page on one run or several."""

"""`genixer doctor`: what is wrong with a dataset, found before anyone trains on it."""

"""Computer-made hearts, thoraces and brains, in the layouts of the real data sets."""

"""Raw data sets into datalists: which files, which patients, which labels."""

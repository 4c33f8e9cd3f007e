"""The one door for images: files, grids, modalities, inputs of inference, loading and saving."""

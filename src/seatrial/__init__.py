"""Sea trials for steering: fit any method to any language model and learn whether it works."""

"""What is done to a model: edits, prompt, readout, gate; saved, composed, compared."""

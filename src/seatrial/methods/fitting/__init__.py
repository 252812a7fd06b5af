"""What methods share: contrasts, prompts of maps, heads, patching, linear algebra."""

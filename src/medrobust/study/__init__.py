"""A blinded reader study: people judge saliency maps, and what follows from it."""

"""Can a saliency map be believed? Checks of a method on a network, without any masks."""

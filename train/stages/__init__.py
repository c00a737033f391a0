"""What follows the training of a model: the stages of a run are fitted to its best weights, one after the other."""

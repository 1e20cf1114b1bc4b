"""Training on made faces: `loop.train` tells the story, `step.train_step` is what it repeats."""

"""How to train: hyperparameters, preprocessing, augmentation and the loop."""

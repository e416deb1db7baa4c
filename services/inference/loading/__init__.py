"""From the files of a version to a model that may answer."""

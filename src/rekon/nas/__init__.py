"""Next-acceleration-scale prediction (NAS): the method, in reading order."""

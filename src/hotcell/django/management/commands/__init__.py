"""One file for each command, thin over what does the work."""

"""The commands of the command line, one module for each kind. Each reads its flags, calls the packages, prints."""

"""The command line `mmn`: runs a network on this machine, and works with any network's gateway."""

"""The authority: the one process that holds the operator's key and says who belongs to the network."""

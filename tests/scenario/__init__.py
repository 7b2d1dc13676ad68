"""The whole network in processes: named stories."""

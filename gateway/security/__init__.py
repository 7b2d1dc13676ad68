"""Who may do what: passwords, access tokens, and the one table of rights."""

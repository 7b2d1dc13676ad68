"""Every layer of tests; the bundles bring their own beside their code."""

"""The web page in Chromium, against the running stack."""

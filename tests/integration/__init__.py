"""One component against a real nats-server, with the permissions that are shipped."""

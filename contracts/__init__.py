"""The ground floor: what two or more services must agree on.

A thing belongs here when the runtime, the Anchor and the gateway, or two of them,
would otherwise each have their own idea of it. Data comes before logic, and nothing
here may import a service. Only `bus`, `service`, `tail`, `streams` and `access` know NATS.
"""

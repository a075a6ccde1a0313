"""``site.yaml``: the desired state as people write it, and what applying it would change."""

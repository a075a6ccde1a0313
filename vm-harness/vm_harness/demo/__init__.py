"""``make demo``: real VMs booted through bootserve, and a table of what was proved."""

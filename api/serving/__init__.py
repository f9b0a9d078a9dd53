"""What every request passes, and what it is answered from: keys, limits, tenants, the live index, what is observed."""

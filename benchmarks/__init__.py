"""What the README's figures come from: one command each, every figure measured beside what it is compared with."""

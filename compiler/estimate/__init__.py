"""How fast the nets would be on the chip, as the compiler's own model of it has it."""

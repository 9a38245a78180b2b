"""Ways to measure: each module has a `measure` that lets contenders take turns, and verifies what they answer."""

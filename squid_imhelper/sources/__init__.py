"""What reads policies, lists and the catalogue, and compiles them. What answers Squid imports none of it."""

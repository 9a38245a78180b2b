"""The network half: what a router does of a policy, and the rules that make it do so."""

"""What stands in the way of a benchmark, said in one sentence."""


class Problem(Exception):  # noqa: N818  # one sentence for whoever started this
    """Something is missing on this machine, or a benchmark cannot be run as it is defined."""


class WrongAnswer(Problem):
    """A contender did not answer what it should have: its time counts for nothing."""


class Missing(Problem):
    """A contender is not installed here, and is left out."""

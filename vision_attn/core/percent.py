"""Shares as percentages, in one style: "83 %" with a space that does not break."""


def percent(share: float, digits: int = 0) -> str:
    r"""A share in [0, 1] as a percentage; it never rounds a share to 0 % or 100 % that is not.

    >>> percent(0.829), percent(0.829, 1), percent(0.9991), percent(0.001), percent(1.0)
    ('83\xa0%', '82.9\xa0%', '>\xa099\xa0%', '<\xa01\xa0%', '100\xa0%')
    """
    step = 10.0**-digits
    rounded = round(100 * share, digits)
    if share < 1 and rounded >= 100:
        return f">\u00a0{100 - step:.{digits}f}\u00a0%"
    if share > 0 and rounded <= 0:
        return f"<\u00a0{step:.{digits}f}\u00a0%"
    return f"{rounded:.{digits}f}\u00a0%"

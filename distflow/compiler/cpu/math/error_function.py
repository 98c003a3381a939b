"""erf of float32 and float64, each in its own precision, without branches."""

from __future__ import annotations

from distflow.compiler.cpu.math.real import Real

# erf(x) / x - 1 in x^2 for |x| <= 19/16: error below 8.7e-10.
_NEAR32 = [
    0.12837916612625122, -0.37612631916999817, 0.1128370612859726, -0.026861922815442085,
    0.0052129910327494144, -0.0008385732071474195, 0.00010651732736732811, -8.127335604513064e-06,
]  # fmt: skip
# (1 - erf(x))^(1/4) for x in [19/16, 4]: error of erf below 5.5e-9.
_FAR32 = [
    1.006258487701416, -0.3117424249649048, -0.05858296528458595, -0.05480603128671646,
    0.0683974176645279, -0.02291758358478546, 0.003352862549945712, -0.00018789360183291137,
]  # fmt: skip
# erf(x) / x - 1 in x^2 for |x| <= 1: error below 1.4e-17.
_NEAR64 = [
    0.12837916709551256, -0.37612638903183343, 0.1128379167093695, -0.026866170641959182,
    0.005223977596736693, -0.0008548325485061753, 0.0001205528049916931, -1.4924465702344932e-05,
    1.6444151481042716e-06, -1.618399902790281e-07, 1.3616736291780289e-08, -7.60788575713548e-10,
]  # fmt: skip
# (1 - erf(x))^(1/8) in x - 3 for x in [1, 6]: error of erf below 5e-18.
_FAR64 = [
    0.26183378622866393, -0.20631696198053734, 0.049950937733685495, 0.0030980364227420755,
    -0.00341155531327798, 0.00032560828898045666, 0.00010421868366469724, -2.349189949653147e-05,
    -8.680886906947025e-07, 6.988067026565503e-07, -2.977255958855024e-08, -1.346935757854218e-08,
    1.3817682849313428e-09, 1.9826265536468616e-10, -5.024058427304184e-11,
    -2.5311507458839883e-12, 1.2546732871420616e-12, 5.208845336083179e-13, 8.147115828630062e-14,
]  # fmt: skip


def erf(x: Real) -> Real:
    """Returns the error function."""
    # A root of 1 - erf is smooth enough for a polynomial, its power flat where it ends.
    if x.is_single:
        y = abs(x).at_most(4.0)  # the result is 1 from 3.92 on
        root = y.polynomial(_FAR32)
        near, split = _NEAR32, 1.1875
    else:
        y = abs(x).at_most(6.0)  # the result is 1 from 5.92 on
        root = (y - 3.0).polynomial(_FAR64)
        root = root * root
        near, split = _NEAR64, 1.0
    root = root * root
    far = (-root).fma(root, 1.0)
    return y.fma((y * y).polynomial(near), y).where(y.compare("ogt", split), far).signed_as(x)

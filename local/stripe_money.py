"""The currencies of the Stripe stand-in, and amounts in their minor units: cents, or yen, which have none."""

from __future__ import annotations

_SUPPORTED = """
    aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bhd bif bmd bnd bob brl bsd bwp byn bzd cad cdf chf clp cny
    cop crc cve czk djf dkk dop dzd egp etb eur fjd fkp gbp gel gip gmd gnf gtq gyd hkd hnl htg huf idr ils inr isk jmd
    jod jpy kes kgs khr kmf krw kwd kyd kzt lak lbp lkr lrd lsl mad mdl mga mkd mmk mnt mop mur mvr mwk mxn myr mzn nad
    ngn nio nok npr nzd omr pab pen pgk php pkr pln pyg qar ron rsd rub rwf sar sbd scr sek sgd shp sle sos srd std szl
    thb tjs tnd top try ttd twd tzs uah ugx usd uyu uzs vnd vuv wst xaf xcd xof xpf yer zar zmw
"""
_WITHOUT_CENTS = "bif clp djf gnf jpy kmf krw mga pyg rwf ugx vnd vuv xaf xof xpf"
CURRENCIES = frozenset(_SUPPORTED.split())
CURRENCIES_WITHOUT_CENTS = frozenset(_WITHOUT_CENTS.split())
AMOUNT_MAX = 99_999_999  # eight digits, as Stripe has it


def money(amount: int, currency: str) -> str:
    """An amount for a person: 1050 of usd is "10.50 USD", 500 of jpy is "500 JPY"."""
    number = str(amount) if currency in CURRENCIES_WITHOUT_CENTS else f"{amount // 100}.{amount % 100:02}"
    return f"{number} {currency.upper()}"

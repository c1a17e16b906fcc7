"""Planning and buying: the only code of the client that spends money.

`choice` ranks what to buy, `plan` says what it would cost, `buyer` buys it through `vendor` and
stores every paid answer before anything else happens. Training never imports this package.
"""

"""Planning and buying: the only code of the client that spends money.

`requirements` lists what a run needs, `plan` says what it would cost, `rounds` and `session` run
the purchase, `buyer` buys through `student.vendor`, and `recorder` stores every paid answer before
anything else happens. Training never imports this package.
"""

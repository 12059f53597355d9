"""Bytes to readings, one module for each format.

    topic --decoder.route--> native (`gengfu/...`) | mapped (by a YAML mapping) | Fault
    route + bytes --decode--> Decoded: readings, and what had to be left out

A further format (Sparkplug B, a field bus behind a gateway) is one more module here, which gives its subscriptions and
a route for each topic; only `decoder.py` has to refer to it. Checks of fields, times and sizes are in `samples.py`, for
all formats.
"""

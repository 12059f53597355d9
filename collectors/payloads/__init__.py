"""Bytes to readings, one file a format.

    topic --decoder.route--> native (`gengfu/...`) | mapped (by a YAML mapping) | Fault
    route + bytes --decode--> Decoded: readings, and what had to be left out

A further format (Sparkplug B, a field bus behind a gateway) is one more file here: something that says which topics
it subscribes to and gives a route for each; `decoder.py` is the only place that learns of it. Checks of fields, times
and sizes are `samples.py`, for all of them.
"""
